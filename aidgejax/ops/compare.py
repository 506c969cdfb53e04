"""Comparisons and logic: results are bool, so no gradient passes."""
