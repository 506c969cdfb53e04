"""Losses. NumPy."""
