"""Pooling, and its gradients."""
