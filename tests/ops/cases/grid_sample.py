from .._case import Case, f

IMAGE, GRID = f(2, 2, 3, 4), f(2, 2, 2, 2, lo=-0.95, hi=0.9)
WIDE = f(2, 2, 2, 2, lo=-1.9, hi=1.9)
FLOAT32 = {"onnx_reference": "onnx's evaluator computes coordinates in float32"}
NEAR = {("cubic", "zeros"), ("cubic", "border"), ("cubic", "reflection")}
SITUATIONS = (
    ("linear", "zeros", 0),
    ("linear", "border", 1),
    ("linear", "reflection", 0),
    ("cubic", "zeros", 1),
    ("cubic", "border", 0),
    ("cubic", "reflection", 1),
    ("nearest", "zeros", 0),
    ("nearest", "reflection", 1),
)

CASES = [
    Case("GridSample", (IMAGE, GRID), why="inside", batch=(0, 1)),
    *[
        Case(
            "GridSample",
            (IMAGE, WIDE),
            why=f"{mode}, {padding}, {align}",
            mode=mode,
            padding_mode=padding,
            align_corners=align,
            batch=(0, 1),
            skip=FLOAT32 if (mode, padding) in NEAR else {},
        )
        for mode, padding, align in SITUATIONS
    ],
    Case("GridSample", (f(1, 2, 6), f(1, 5, 1, lo=-0.9, hi=0.9)), why="one axis", batch=(0, 1), skip=FLOAT32),
    Case(
        "GridSample",
        (f(1, 1, 2, 3, 2), f(1, 2, 1, 1, 3, lo=-0.9, hi=0.9)),
        why="three axes",
        batch=(0, 1),
    ),
    Case("GridSampleGrad", (f(2, 2, 2, 2), IMAGE, GRID), outputs=2, batch=(0, 1, 2)),
]
