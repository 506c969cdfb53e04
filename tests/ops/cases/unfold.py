from .._case import Case, f

CASES = [
    Case("Unfold", (f(2, 3, 4, 5),), why="2x3", kernel_shape=(2, 3)),
    Case(
        "Unfold",
        (f(1, 2, 6, 7),),
        why="strides, dilations, pads",
        kernel_shape=(2, 2),
        strides=(2, 1),
        dilations=(2, 3),
        pads=(1, 0, 0, 2),
    ),
    Case("Unfold", (f(2, 2, 6),), why="one axis", kernel_shape=(3,), strides=(2,)),
    Case("Col2Im", (f(2, 18, 9), (4, 5), (2, 3)), why="2x3"),
    Case(
        "Col2Im",
        (f(1, 8, 12), (5, 6), (2, 2)),
        why="strides, dilations, pads",
        strides=(1, 2),
        dilations=(2, 1),
        pads=(0, 1, 1, 0),
    ),
]
