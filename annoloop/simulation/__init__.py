"""Damaged labels, made data and an annotator who knows the truth: what claims are measured with."""
