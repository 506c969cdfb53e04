"""What each front end compiles for a training step is lowered for a GPU and a TPU, on whatever this machine has."""

import jax
import numpy as np
import pytest

import aidgejax as aj

PLATFORMS = ("cuda", "tpu")
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(4, 7)).astype(np.float32), RNG.integers(0, 3, 4)


class Lowering:
    """jax.jit, whose functions are lowered for the other platforms whenever they are called from outside a trace."""

    def __init__(self, function, **options):
        self.function, self.jitted = function, jit(function, **options)

    def __call__(self, *args, **kwargs):
        if any(isinstance(a, jax.core.Tracer) for a in jax.tree.leaves((args, kwargs))):
            return self.jitted(*args, **kwargs)
        traced = self.jitted.trace(*args, **kwargs)
        for platform in PLATFORMS:
            traced.lower(lowering_platforms=(platform,))
        seen.append(getattr(self.function, "__qualname__", repr(self.function)))
        return self.jitted(*args, **kwargs)

    def __getattr__(self, name):
        return getattr(self.jitted, name)


jit, seen = jax.jit, []


@pytest.fixture(autouse=True)
def lowering(monkeypatch):
    seen.clear()
    monkeypatch.setattr(jax, "jit", Lowering)
    aj.execution.cache.PROGRAMS.clear()  # so that everything is compiled here
    yield
    aj.execution.cache.PROGRAMS.clear()
    assert seen, "nothing was compiled, so nothing was lowered"


def test_aidge():
    import aidgejax.frontends.aidge_core as aidge_core
    import aidgejax.frontends.aidge_learning as aidge_learning

    model = aidge_core.sequential([aidge_core.FC(7, 5, name="fc1"), aidge_core.ReLU(), aidge_core.FC(5, 3, name="fc2")])
    model.set_backend("cpu")
    model.set_datatype(aidge_core.dtype.float32)
    aidge_core.init_producer(model, "Producer-1>FC", aidge_core.he_filler)
    aidge_core.init_producer(model, "Producer-2>FC", lambda x: aidge_core.constant_filler(x, 0.01))
    opt = aidge_learning.SGD(momentum=0.9)
    opt.set_parameters(aidge_core.producers(model))
    opt.set_learning_rate_scheduler(aidge_learning.constant_lr(0.1))
    scheduler = aidge_core.SequentialScheduler(model)
    x, y = aidge_core.Tensor(X), aidge_core.Tensor(np.eye(3, dtype=np.float32)[Y])
    loss = aidge_learning.loss.CELoss(scheduler.forward(data=[x])[0], y)
    scheduler.backward()
    opt.update()
    assert np.isfinite(np.asarray(loss)).all()
    assert len(seen) >= 4  # forward, loss, backward, update


@pytest.mark.slow
def test_singa():
    from aidgejax.frontends.singa import autograd, layer, model, opt, tensor

    class Mlp(model.Model):
        def __init__(self):
            super().__init__()
            self.first, self.relu, self.last = layer.Linear(5), layer.ReLU(), layer.Linear(3)

        def forward(self, x):
            return self.last(self.relu(self.first(x)))

        def train_one_batch(self, x, t):
            loss = autograd.softmax_cross_entropy(self.forward(x), t)
            self.optimizer(loss)
            return loss

    x, t = tensor.Tensor(data=X), tensor.Tensor(data=Y.astype(np.int32), dtype=tensor.int32)
    m = Mlp()
    m.set_optimizer(opt.SGD(lr=0.1, momentum=0.9))
    m.compile([x], use_graph=True)
    assert np.isfinite(float([m(x, t) for _ in range(2)][-1]))
    assert any("pure" in name for name in seen), seen  # the step as one program, besides the tape's operations


def test_tvm():
    from aidgejax.frontends.tvm import relax
    from aidgejax.frontends.tvm.relax.training import loss, optimizer

    from .tvm.programs import backbone, mlp, setup

    tensor = relax.TensorType
    targets = [tensor((4, 5)), tensor((4,), "int64")]
    _, trainer = setup(backbone(mlp()), loss.CrossEntropyLoss(), optimizer.Adam(0.01), targets)
    trainer.xavier_uniform_init_params()
    assert np.isfinite(trainer.update(RNG.normal(size=(4, 6)).astype(np.float32), Y).numpy())


@pytest.mark.slow
def test_onnxruntime(tmp_path):
    from aidgejax.frontends.onnxruntime.training import artifacts
    from aidgejax.frontends.onnxruntime.training.api import CheckpointState, Module, Optimizer

    model = aj.onnxio.to_model(aj.infer_shapes(aj.zoo.mlp((7, 5, 3))))
    names = [t.name for t in model.graph.initializer]
    artifacts.generate_artifacts(
        model, requires_grad=names, loss=artifacts.LossType.CrossEntropyLoss,
        optimizer=artifacts.OptimType.AdamW, artifact_directory=str(tmp_path),
    )  # fmt: skip
    state = CheckpointState.load_checkpoint(tmp_path / "checkpoint")
    module = Module(tmp_path / "training_model.onnx", state, tmp_path / "eval_model.onnx")
    optimizer = Optimizer(tmp_path / "optimizer_model.onnx", module)
    loss = module(X, Y.astype(np.int64))
    optimizer.step()
    assert np.isfinite(np.asarray(loss)).all()


@pytest.mark.slow
def test_aihwkit():
    from aidgejax.frontends.aihwkit.nn import AnalogLinear, AnalogSequential, Tanh
    from aidgejax.frontends.aihwkit.optim import AnalogSGD
    from aidgejax.frontends.aihwkit.simulator.configs import InferenceRPUConfig

    model = AnalogSequential(
        AnalogLinear(7, 5, rpu_config=InferenceRPUConfig()), Tanh(), AnalogLinear(5, 3, rpu_config=InferenceRPUConfig())
    )
    optimizer = AnalogSGD(model.train().parameters(), lr=0.1)
    y = model(X)
    model.backward(np.ones_like(y))
    optimizer.step()
    assert np.isfinite(np.asarray(y)).all()
