"""The compiled epoch is ready for every platform, from a machine that has only one."""

import jax
import numpy as np
import pytest

import aidgejax as aj

NETWORKS = {
    "mlp": (lambda: aj.zoo.mlp(sizes=(784, 64, 10)), (784,)),
    "lenet": (aj.zoo.lenet, (1, 28, 28)),
    "resnet8": (aj.zoo.resnet8, (3, 32, 32)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_one_program_for_cpu_gpu_and_tpu(name):
    make, shape = NETWORKS[name]
    graph = aj.with_loss(aj.infer_shapes(make()), "cross_entropy", reduction="rows")
    program = aj.make_program(graph, training=True)
    optimizer = aj.optim.sgd(momentum=0.9)
    epoch = aj.make_epoch(aj.make_step(program, optimizer, aj.schedule.constant(0.01)))
    state = aj.start(program, optimizer, jax.random.key(0))
    batches = {"x": np.zeros((2, 4, *shape), np.float32), "target": np.zeros((2, 4), np.int32)}
    exported = jax.export.export(epoch, platforms=["cpu", "cuda", "tpu"])(state, batches)
    assert exported.platforms == ("cpu", "cuda", "tpu")
