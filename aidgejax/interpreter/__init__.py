"""Evaluating a graph with JAX node by node: layouts, shapes, and what is computed before compiling."""
