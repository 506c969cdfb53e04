"""What several front ends hold in common: the traced step and the mutable tensor.  State, no computation of its own."""
