"""Backbones and trainers as their users write them, from the neutral descriptions in tests/golden/tvm."""

import functools
import json
from contextlib import nullcontext
from pathlib import Path

import jax
import numpy as np

from aidgejax.frontends import tvm
from aidgejax.frontends.tvm import relax
from aidgejax.frontends.tvm.relax import training

GOLDEN = Path(__file__).parents[2] / "golden" / "tvm"


def cases(name):
    return json.loads((GOLDEN / name).read_text())["cases"]


@functools.cache
def arrays(name):
    return dict(np.load(GOLDEN / name))


def var(name, shape, dtype="float32"):
    return relax.Var(name, relax.TensorType(shape, dtype))


def operator(name):
    if name in ("relu", "batch_norm"):
        return getattr(relax.op.nn, name)
    place = relax.op
    for part in name.split("."):
        place = getattr(place, part)
    return place


def backbone(spec):
    """The module of a specification: inputs, params, states, ops [[results], op, args, attributes], outputs."""
    declared = [var(*v) for v in (*spec["inputs"], *spec["params"], *spec["states"])]
    known = {v.name_hint: v for v in declared}
    bb = relax.BlockBuilder()
    with bb.function("backbone", declared):
        with bb.dataflow():
            for result, op, args, attrs in spec["ops"]:
                made = bb.emit(operator(op)(*(known[a] for a in args), **attrs))
                if isinstance(result, list):
                    known |= {r: bb.emit(relax.TupleGetItem(made, k), r) for k, r in enumerate(result)}
                else:
                    known[result] = made
            results = [bb.emit_output(known[o], o) for o in (*spec["outputs"], *spec["state_outputs"])]
        bb.emit_func_output(results if len(results) > 1 else results[0])
    return bb.get().with_attrs({"param_num": len(spec["params"]), "state_num": len(spec["states"])})


def setup(mod, loss, optimizer, loss_args, *, legalize=True, zero=True, profile=False):
    """The trained module and its Trainer."""
    mod = training.SetupTrainer(loss, optimizer, loss_args, legalize)(mod)
    vm = relax.VirtualMachine(tvm.compile(mod, "llvm"), tvm.cpu(), profile=profile)
    return mod, training.Trainer(mod, vm, tvm.cpu(), zero)


def mlp(batch=4, sizes=(6, 8, 5), activation="relu"):
    """The specification of dense layers w0, b0, w1, b1 ..."""
    ops, x = [], "x"
    params = []
    for k, (n, m) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        params += [[f"w{k}", [n, m], "float32"], [f"b{k}", [m], "float32"]]
        last = k == len(sizes) - 2
        ops += [[f"m{k}", "matmul", [x, f"w{k}"], {}], ["out" if last else f"s{k}", "add", [f"m{k}", f"b{k}"], {}]]
        if not last:
            ops.append([f"a{k}", activation, [f"s{k}"], {}])
            x = f"a{k}"
    return {
        "inputs": [["x", [batch, sizes[0]], "float32"]],
        "params": params,
        "states": [],
        "ops": ops,
        "outputs": ["out"],
        "state_outputs": [],
    }


def in_precision(dtype):
    return jax.enable_x64(True) if dtype == "float64" else nullcontext()
