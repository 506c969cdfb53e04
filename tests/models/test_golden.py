"""Small exports of torch, checked in with torch's gradients: see make_golden.py."""

from pathlib import Path

import jax
import numpy as np
import pytest

import aidgejax as aj

FOLDER = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name, mode", [("vit", ""), ("squeeze_excite", ""), ("squeeze_excite", "train/")])
def test_an_export_of_one_row_has_torch_s_gradients_of_four(name, mode):
    graph = aj.onnxio.read(FOLDER / f"{name}.onnx", batch="N")
    golden = dict(np.load(FOLDER / f"{name}.npz"))
    wanted = {k.removeprefix(f"{mode}grad/"): golden[k] for k in golden if k.startswith(f"{mode}grad/")}
    program = aj.make_program(aj.with_loss(graph, "cross_entropy"), wrt=list(wanted), training=bool(mode))
    assert set(wanted) - {"x"} == set(graph.params)

    def step(params, buffers, batch):
        outputs, saved, _ = program.forward(params, buffers, batch)
        return outputs, program.backward(params, saved, {"loss": 1.0})

    outputs, grads = jax.jit(step)(graph.params, graph.buffers, {k: golden[k] for k in ("x", "target")})
    np.testing.assert_allclose(outputs["loss"], golden[f"{mode}loss"], rtol=1e-5)
    np.testing.assert_allclose(outputs[graph.outputs[0]], golden[f"{mode}y"], rtol=1e-4, atol=1e-5)
    largest = max(np.linalg.norm(g) for g in wanted.values())
    for k, want in wanted.items():
        off = np.linalg.norm(grads[k] - want)
        assert off <= 1e-4 * np.linalg.norm(want) + 1e-6 * largest, f"{k}: {off}"
