from .._case import Case, f, i

CASES = [
    Case("RotaryEmbedding", (f(2, 2, 3, 4), f(5, 2), f(5, 2), i(2, 3)), batch=(0, 3), why="by position"),
    Case(
        "RotaryEmbedding",
        (f(2, 3, 8), f(2, 3, 1), f(2, 3, 1)),
        num_heads=2,
        rotary_embedding_dim=2,
        batch=(0, 1, 2),
        why="3 axes, some channels only, an angle for each token",
    ),
    Case(
        "RotaryEmbedding",
        (f(1, 2, 3, 6), f(5, 2), f(5, 2), i(1, 3)),
        interleaved=1,
        rotary_embedding_dim=4,
        batch=(),
        why="interleaved",
    ),
]
