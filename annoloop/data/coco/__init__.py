"""COCO files: instances and panoptic, ours and those of other tools."""
