"""Normalisations, and the gradients that would be slow or unstable in elementary nodes."""
