"""Graph passes: `pass(graph, ...) -> Graph`, pure, each named after what it does."""
