import numpy as np

from .._case import Case, f

SPECTRUM = "onnx.reference counts the imaginary parts of a real signal's first and middle number"
MEL = tuple(np.array(v) for v in (4, 16, 8000)) + (np.float32(0), np.float32(4000))

CASES = [
    Case("DFT", (f(2, 5, 1),), why="a real signal"),
    Case("DFT", (f(2, 5, 2),), why="a complex signal, back", inverse=1),
    Case("DFT", (f(2, 6, 1),), why="half of it is enough", onesided=1),
    Case("DFT", (f(2, 4, 2),), why="from half of it, of an even length", onesided=1, inverse=1),
    Case("DFT", (f(2, 3, 2), 5), why="from half of it, of an odd length", onesided=1, inverse=1),
    Case("DFT", (f(2, 4, 3, 2), 6, 1), why="filled up, another axis"),
    Case("DFT", (f(2, 6, 1), 4), why="cut"),
    Case("STFT", (f(2, 10, 1), 2, f(4), 4), why="overlapping frames", batch=(0,)),
    Case("STFT", (f(2, 9, 2), 3, f(5)), why="a complex signal, frames as long as the window", onesided=0),
    Case("STFT", (f(1, 8, 1), 4, None, 4), why="without a window, side by side", batch=()),
    Case("MelWeightMatrix", MEL, batch=()),
]
