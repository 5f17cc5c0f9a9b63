"""Numbers that compare maps and pictures: scores, outlines, calibration, error regions, label quality.  No files."""
