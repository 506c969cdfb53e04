"""Tools over whole models: compare two backends, inspect a graph, small networks to start from."""
