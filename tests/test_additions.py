"""A toy operator takes three files, a toy optimizer two: tried on a copy of the package, in a process of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import aidgejax

OPERATOR = '''"""A toy."""
import jax.numpy as jnp
from ._registry import operator

def toy_vjp(op, x, y, dy):
    return (op.Mul(dy, op.Mul(3.0, op.Mul(x, x))),)

@operator("Toy", onnx=("toys", 1), vjp=toy_vjp)
def toy(x):
    """x cubed.  f[*s] -> f[*s]."""
    return x * x * x
'''
DEFINITION = '''"""A toy."""
from ._definition import define

@define("Toy")
def toy(x):
    return x**3
'''
OPTIMIZER = '''

@reproducible
def toysgd(pull: Any = 0.5) -> Optimizer:
    """p <- p - lr * pull * sign(g)."""
    return per_leaf(lambda p: Momentum(None, jnp.int32(0)), lambda p, g, s, lr: (p - lr * pull * jnp.sign(g), s))
'''
COUNTERPART = '''

def toysgd(pull: float = 0.5) -> Rule:
    """The same."""
    return _rule((), lambda p, g, memory, lr: p - lr * pull * np.sign(g))
'''
TRIAL = """
import sys
import numpy as np, aidgejax as aj
assert "copy" in aj.__file__
g = aj.Graph("g")
g.output(g.op.Toy(g.op.MatMul(g.input("x", ("N", 3)), g.parameter("w", np.ones((3, 2), np.float32))), name="y"))
x = np.full((2, 3), 0.5, np.float32)
for backend in aj.execution.run.BACKENDS:
    np.testing.assert_allclose(aj.run(g, [x], backend)[0], 3.375, rtol=1e-6)
assert aj.compare(g, steps=2, optimizer="toysgd", lr=1e-3).ok
from aidgejax.cli.main import main
from aidgejax.training.optimizers import rules, usual
assert "toysgd" in rules() and isinstance(usual("toysgd"), aj.optim.Optimizer)  # what aj.train asks
aj.onnxio.write(aj.zoo.mlp(sizes=(4, 3, 2)), None, "m.onnx")
assert main(["compare", "m.onnx", "--optimizer", "toysgd", "--steps", "2"]) == 0
assert main(["artifacts", "m.onnx", "--loss", "MSELoss", "--optimizer", "toysgd", "--out", "made"]) == 0
np.savez("d.npz", x=np.ones((20, 4), np.float32), target=np.arange(20) % 2)
assert main(["train", "--model", "m.onnx", "--data", "d.npz", "--batch-size", "4", "--epochs", "1", "--optimizer",
             "toysgd", "--setting", "pull=0.1", "--out", "run", "--cache", "off"]) == 0
"""


def test_three_files_and_two(tmp_path):
    copy = tmp_path / "copy"
    package = copy / "aidgejax"
    shutil.copytree(Path(aidgejax.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "ops/toy.py").write_text(OPERATOR)
    (package / "reference/toy.py").write_text(DEFINITION)
    for file, text in (("training/optim.py", OPTIMIZER), ("reference/optim.py", COUNTERPART)):
        with open(package / file, "a") as f:
            f.write(text)
    (tmp_path / "trial.py").write_text(TRIAL)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "trial.py")],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-2000:]
