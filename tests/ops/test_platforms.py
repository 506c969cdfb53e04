"""Every row of the table, forward and gradient, is lowered for a GPU and a TPU, on whatever this machine has."""

import ast
from pathlib import Path

import jax
import pytest

import aidgejax
from aidgejax.ops import lookup

from .cases import TABLE

PLATFORMS = ("cuda", "tpu")
GROUPS = 10


def lower(case):
    """The row's outputs and gradients in float32, as users compile them, for each platform alone."""
    program = case.program()

    def both(feeds):
        outputs, saved, _ = program.forward({}, {}, feeds, jax.random.key(0))
        seeds = {s: jax.numpy.ones_like(outputs[s]) for s in program.seeds}
        return outputs, program.backward({}, saved, seeds) if program.wrt else {}

    traced = jax.jit(both).trace(
        {k: jax.ShapeDtypeStruct(a.shape, jax.numpy.asarray(a).dtype) for k, a in case.feeds().items()}
    )
    for platform in PLATFORMS:
        traced.lower(lowering_platforms=(platform,))


def lower_all(cases):
    failed = []
    for case in cases:
        try:
            lower(case)
        except Exception as error:
            failed.append(f"{case!r}: {type(error).__name__}: {str(error)[:300]}")
    assert not failed, "\n".join(failed)


def test_a_row_of_every_family_is_lowered_for_other_platforms():
    """Of each file of the table, one row of the operator with the most rows: what its authors found intricate."""
    families = {}
    for case in TABLE:
        families.setdefault(case.operator.forward.__module__, []).append(case)
    most = lambda cases: max(cases, key=lambda c: (bool(c.wrt), sum(o.op == c.op for o in cases)))  # noqa: E731
    lower_all(most(cases) for cases in families.values())


@pytest.mark.slow
@pytest.mark.parametrize("group", range(GROUPS))
def test_every_row_is_lowered_for_other_platforms(group):
    lower_all(TABLE[group::GROUPS])


def test_sums_over_rows_leave_the_order_of_activations_alone_on_a_gpu():
    """XLA:GPU puts summed axes innermost, of all that the sum is computed from, unless the order is asked for."""
    total = jax.jit(lambda x, like: lookup("SumLike").forward(x * 2, like))
    traced = total.trace(jax.ShapeDtypeStruct((4, 5, 6), "float32"), jax.ShapeDtypeStruct((5, 6), "float32"))
    texts = {p: traced.lower(lowering_platforms=(p,)).as_text() for p in ("cuda", "tpu", "cpu")}
    assert [t.count("LayoutConstraint") for t in texts.values()] == [1, 0, 0]


def test_no_operator_asks_which_devices_there_are():
    """A kernel of one platform is chosen when it is lowered: the host that traces may not be the one that runs."""
    root = Path(aidgejax.__file__).parent
    asked = {"devices", "local_devices", "default_backend", "device_count", "local_device_count"}
    found = []
    for room in ("ops", "interpreter", "passes", "analog", "quant"):
        for path in sorted((root / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else None
                if name in asked:
                    found.append(f"{path.relative_to(root)}:{node.lineno} {name}")
    for name in ("program.py", "cache.py", "run.py"):
        source = (root / "execution" / name).read_text()
        found += [f"execution/{name}: {a}" for a in asked if f"jax.{a}(" in source]
    assert not found, found
