"""Convolutions, and the two convolutions that are their gradients. NumPy."""
