"""Picking elements by index: Gather and its relatives, ArgMax, TopK."""
