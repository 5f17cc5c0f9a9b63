"""annoloop: the annotation loop for semantic segmentation as one tool."""

__version__ = "0.1.0"
