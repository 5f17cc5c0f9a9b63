"""The data report: facts of a file, their cache, findings, outliers, the page."""
