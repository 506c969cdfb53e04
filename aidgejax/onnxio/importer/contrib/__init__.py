"""What the operators of com.microsoft mean, one file per family, registered by name (see contrib_ops.py)."""
