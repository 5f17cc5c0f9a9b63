"""Label maps as arrays: classes, the loops over pixels, regions, run lengths, polygons, morphology.  No files."""
