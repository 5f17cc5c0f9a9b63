"""Further formats in which colleagues send masks: YOLO text, and CVAT's zip of masks."""
