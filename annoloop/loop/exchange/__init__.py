"""What travels to CVAT and back: planning, delivery, corrections."""
