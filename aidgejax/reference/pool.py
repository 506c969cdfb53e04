"""Pooling, and its gradients. NumPy."""
