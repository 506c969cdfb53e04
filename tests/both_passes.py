"""Forward and backward of a program as one compiled call: executed eagerly, each primitive is compiled by itself."""

import jax


def both_passes(program, params, buffers, batch, cotangents, key=None):
    """(outputs, gradients, buffers afterwards).  cotangents: f(outputs) -> {seed: its cotangent}."""

    @jax.jit
    def run(params, buffers, batch, key):
        outputs, saved, after = program.forward(params, buffers, batch, key)
        return outputs, program.backward(params, saved, cotangents(outputs)), after

    outputs, grads, after = run(params, buffers, batch, key)
    # A jitted function gives dictionaries back in the order of their keys.
    return {o: outputs[o] for o in program.graph.outputs}, {w: grads[w] for w in program.wrt}, after
