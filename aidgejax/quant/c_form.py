"""The folder that form "c" writes, compiled and run against the deployed graph before it is kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import reference
from ..errors import BackendError, ModelFileError
from ..files import write_atomically
from ..graph import Graph
from .batches import Batches, each_batch
from .c_code import Program, c_program
from .runtimes import instructions
from .verify import Report, Row

COMPILERS = ("gcc", "cc", "clang")
FLAGS = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Wno-unused-but-set-variable", "-Werror")
MAIN = """\
/* Reads rows of levels from stdin, writes rows of levels to stdout: for a test on the host. */
#include <stdio.h>
#include "{name}.h"

int main(void) {{
    static {name}_input x[{NAME}_INPUTS];
    static {name}_output y[{NAME}_OUTPUTS];
    while (fread(x, sizeof x, 1, stdin) == 1) {{
        {name}_run(x, y);
        fwrite(y, sizeof y, 1, stdout);
    }}
    return 0;
}}
"""


def compiler() -> str | None:
    return next((c for c in COMPILERS if shutil.which(c)), None)


def files_of(program: Program, name: str) -> dict[str, str]:
    """{file: text} of the folder."""
    main = MAIN.format(name=name, NAME=name.upper())
    return {f"{name}.c": program.source, f"{name}.h": program.header, f"test_{name}.c": main}


def run_c(program: Program, name: str, levels: np.ndarray) -> np.ndarray:
    """The output's levels for rows of the input's, by a program compiled with the host's compiler.

    Raises BackendError where there is no compiler, or where it refuses.
    """
    found = compiler()
    if found is None:
        raise BackendError(f"form 'c' is checked by a compiler, and there is none of {', '.join(COMPILERS)} here")
    with tempfile.TemporaryDirectory() as folder:
        for file, text in files_of(program, name).items():
            with open(os.path.join(folder, file), "w") as f:
                f.write(text)
        made = subprocess.run(
            [found, *FLAGS, f"{name}.c", f"test_{name}.c", "-o", "test"], cwd=folder, capture_output=True, text=True
        )
        if made.returncode:
            raise BackendError(f"{found} refuses the program: {made.stderr.strip().splitlines()[:3]}")
        ran = subprocess.run([os.path.join(folder, "test")], input=levels.tobytes(), capture_output=True, timeout=600)
    if ran.returncode:
        raise BackendError(f"the compiled program ended with code {ran.returncode}")
    kind = np.dtype(program.output[1].removesuffix("_t"))
    return np.frombuffer(ran.stdout, kind).reshape(len(levels), program.output[2])


def verify_c(integers: Graph, program: Program, name: str, data: Batches, reasons: tuple[str, ...]) -> Report:
    """The compiled program against NumPy's execution of the deployed graph, all rows of the data."""
    given, wanted = program.input[0], program.output[0]
    levels, want = [], []
    for batch in each_batch(integers, data):
        found: Mapping[str, Any] = reference.execute(integers, batch)
        levels.append(np.asarray(found[given]).reshape(len(found[given]), -1))
        want.append(np.asarray(found[wanted]).reshape(len(found[wanted]), -1))
    got = run_c(program, name, np.concatenate(levels)).astype(np.int64)
    away = np.abs(got - np.concatenate(want).astype(np.int64))
    (tensor,) = (n.output_names[0] for n in integers.nodes if n.op == "DequantizeLinear" and n.inputs[0] == wanted)
    row = Row("c", tensor, integers.writer()[tensor].name, away.size, int(np.count_nonzero(away)), float(away.max()))
    return Report((row,), reasons, (), instructions())


def write_c(program: Program, name: str, folder: Any) -> None:
    """The folder with the program; ModelFileError where that cannot be made."""
    folder = os.fspath(folder)
    try:
        os.makedirs(folder, exist_ok=True)
        for file, text in files_of(program, name).items():
            write_atomically(text.encode(), os.path.join(folder, file))
    except OSError as e:
        raise ModelFileError(f"cannot write {folder!r}: {e.strerror or e}") from None


def program_of(integers: Graph) -> tuple[Program, str]:
    return c_program(integers, "net"), "net"
