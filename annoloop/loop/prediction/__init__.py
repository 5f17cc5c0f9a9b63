"""``annoloop predict``: what the model says of any images, outside the loop."""
