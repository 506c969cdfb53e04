"""Two devices of the host: a model on one and its data on another, as with an accelerator; and both for one model."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

# "cuda" is the host's second device here, and "cpu" the first, to which data is bound as on a machine with a GPU.
SCRIPT = """
import sys
import jax
import numpy as np
import aidgejax.frontends.aidge_core as aidge_core, aidgejax.frontends.aidge_learning as aidge_learning
from aidgejax import data_parallel, sharded
from aidgejax.frontends import tvm
from aidgejax.frontends.aidge_core import backends
from aidgejax.frontends.tvm.relax import TensorType, VirtualMachine, training
from aidgejax.frontends.tvm.relax.training import loss as losses, optimizer as optimizers
from tests.frontends.tvm import programs

first, second = jax.devices()
real = backends.place_of
fake = lambda name, device=0: {"cpu": first, "cuda": second}.get(name) or real(name, device)
names = (*backends.available(), "cuda")
for module in [m for n, m in sys.modules.items() if n.startswith("aidgejax.frontends.aidge_")]:
    if getattr(module, "place_of", None) is real:
        module.place_of = fake
    if hasattr(module, "available"):
        module.available = lambda: names

def train(backend):
    aidge_core.random.Generator.set_seed(1)
    layers = [aidge_core.FC(6, 8, name="fc1"), aidge_core.ReLU(name="r"), aidge_core.FC(8, 3, name="fc2")]
    model = aidge_core.sequential(layers)
    model.set_backend(backend)
    model.set_datatype(aidge_core.dtype.float32)
    aidge_core.init_producer(model, "Producer-1>FC", aidge_core.he_filler)
    aidge_core.init_producer(model, "Producer-2>FC", lambda x: aidge_core.constant_filler(x, 0.01))
    opt = aidge_learning.SGD(momentum=0.9)
    opt.set_parameters(aidge_core.producers(model))
    opt.set_learning_rate_scheduler(aidge_learning.constant_lr(0.1))
    scheduler = aidge_core.SequentialScheduler(model)
    rng = np.random.default_rng(0)
    for _ in range(4):
        x = aidge_core.Tensor(rng.normal(size=(5, 6)).astype(np.float32))
        y = aidge_core.Tensor(np.eye(3, dtype=np.float32)[rng.integers(0, 3, 5)])
        x.set_backend("cpu"), y.set_backend("cpu")
        pred = scheduler.forward(data=[x])[0]
        loss = aidge_learning.loss.CELoss(pred, y)
        right = aidge_learning.metrics.Accuracy(pred, y, 1)
        scheduler.backward()
        opt.update()
        opt.reset_grad()
    return float(np.asarray(loss).ravel()[0]), float(np.asarray(right).ravel()[0])

def fitted(placement):
    aidge_core.random.Generator.set_seed(1)
    model = aidge_core.sequential([aidge_core.FC(6, 8, name="fc1"), aidge_core.FC(8, 3, name="fc2")])
    model.set_backend("cpu")
    model.set_datatype(aidge_core.dtype.float32)
    aidge_core.init_producer(model, "Producer-1>FC", aidge_core.he_filler)
    aidge_core.init_producer(model, "Producer-2>FC", lambda x: aidge_core.constant_filler(x, 0.01))
    opt = aidge_learning.SGD(momentum=0.9)
    opt.set_parameters(aidge_core.producers(model))
    opt.set_learning_rate_scheduler(aidge_learning.constant_lr(0.1))
    rng = np.random.default_rng(0)
    batches = [(rng.normal(size=(4, 6)).astype(np.float32), rng.integers(0, 3, 4)) for _ in range(6)]
    more = {"epochs": 2, "accumulate": 2}
    records = aidge_learning.fit(model, batches, opt, aidge_learning.loss.CELoss, placement=placement, **more)
    records += aidge_learning.fit(model, batches, opt, aidge_learning.loss.CELoss, **more)  # and on one device again
    weights = [np.asarray(n.get_operator().get_output(0)) for n in opt.parameters()]
    return [r["loss"] for r in records], *weights

def relax(placement):
    backbone_of = programs.backbone(programs.mlp())
    mod = training.SetupTrainer(
        losses.CrossEntropyLoss(), optimizers.Adam(0.01), [TensorType((4, 5)), TensorType((4,), "int64")]
    )(backbone_of)
    vm = VirtualMachine(tvm.compile(mod, "llvm"), tvm.cpu(), profile=True)
    t = training.Trainer(mod, vm, tvm.cpu(), placement=placement)
    np.random.seed(3)
    t.xavier_uniform_init_params()
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(3, 4, 6)).astype(np.float32), rng.integers(0, 5, (3, 4))
    seen = [t.update(x[0], y[0]).numpy(), *t.update_many(x, y).numpy(), t.predict(x[0]).numpy()]
    if placement is not None:
        assert "Fused step" in str(t.profile_adjoint(x[0], y[0]))
        assert len(t._params[0].sharding.device_set) == 2
        split = [a.sharding.shard_shape(a.shape) != a.shape for a in (*t._params, *t._optim_state)]
        assert sum(split) == (3 * 3 if placement.splits else 0)  # all but 5 biases, and adam's two states of each
    return [*seen, *(p.numpy() for p in t.export_params().values())]

def close(f, *placements):
    alone = f(None)
    for placement in placements:
        for a, b in zip(f(placement), alone, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)

close(relax, data_parallel(2), sharded(mesh=2))
close(fitted, data_parallel(2))
def epoch(home):
    # A compiled epoch whose state lies on `home`, with its batches, weights and rows bound to the first device.
    import aidgejax as aj

    graph = aj.with_loss(aj.infer_shapes(aj.zoo.mlp((6, 5, 3))), "cross_entropy", reduction="rows")
    program, optimizer = aj.make_program(graph, training=True), aj.optim.sgd(momentum=0.9)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(24, 6)).astype(np.float32), rng.integers(0, 3, 24).astype(np.int32)
    data = jax.device_put({"x": x, "target": y}, first)
    rows = jax.device_put(np.arange(24, dtype=np.int32).reshape(3, 8), first)
    weights = jax.device_put(np.ones((3, 8), np.float32), first)
    run = aj.make_epoch(aj.make_step(program, optimizer, aj.schedule.constant(0.1)))
    state = jax.device_put(aj.start(program, optimizer, jax.random.key(0)), home)
    state, history = run(state, rows, weights, data=data)
    assert history["loss"].devices() == state.params["fc1.weight"].devices() == {home}
    return np.asarray(history["loss"])

def tvm_tensors():
    from aidgejax.frontends import tvm

    here, there = tvm.runtime.tensor([1.0, 2.0], tvm.cpu(0)), tvm.runtime.tensor([1.0, 2.0], tvm.cpu(1))
    assert there.data.devices() == {second} and (here.numpy() == there.numpy()).all() and not tvm.cpu(2).exist

def tvm_trainer(home, data):
    mod = training.SetupTrainer(
        losses.CrossEntropyLoss(), optimizers.SGD(0.1), [TensorType((4, 5)), TensorType((4,), "int64")]
    )(programs.backbone(programs.mlp()))
    t = training.Trainer(mod, VirtualMachine(tvm.compile(mod, "llvm"), home), home)
    np.random.seed(3)
    t.xavier_uniform_init_params()
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, 6)).astype(np.float32), rng.integers(0, 5, 4)
    x, y = tvm.runtime.tensor(x, data), tvm.runtime.tensor(y, data)
    found = [float(t.update(x, y).numpy()) for _ in range(2)]
    assert t.export_params()["w0"].data.devices() == {home.jax}
    return [*found, *t.predict(x).numpy().ravel()]

def aihwkit_layer(*places):
    # Where the data lies may change from step to step: the weights stay on JAX's first device.
    from aidgejax.frontends.aihwkit.nn import AnalogLinear
    from aidgejax.frontends.aihwkit.optim import AnalogSGD
    from aidgejax.frontends.aihwkit.simulator.configs import InferenceRPUConfig

    config = InferenceRPUConfig()
    config.forward.is_perfect = True
    layer, rng = AnalogLinear(7, 3, rpu_config=config), np.random.default_rng(1)
    layer.set_weights(rng.normal(size=(3, 7)).astype(np.float32) * 0.1, np.zeros(3, np.float32))
    optimizer = AnalogSGD(layer.train().parameters(), lr=0.1)
    x = rng.normal(size=(4, 7)).astype(np.float32)
    for place in places:
        here = (lambda a: a) if place is None else (lambda a, place=place: jax.device_put(a, place))
        y = layer(here(x))
        assert y.devices() == layer.backward(here(np.ones((4, 3), np.float32))).devices() == {first}
        optimizer.step()
    return np.asarray(layer(x))

def singa_model(dev, data, devices):
    # DistOpt on both devices where `devices` is 2; the data on another device than the model.
    from aidgejax.frontends.singa import autograd, device, layer, model, opt, tensor

    class Net(model.Model):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.flat, self.fc = (
                layer.Conv2d(2, 4, 3), layer.BatchNorm2d(4), layer.Flatten(), layer.Linear(3),
            )
            self.loss = layer.SoftMaxCrossEntropy()

        def forward(self, x):
            return self.fc(self.flat(autograd.relu(self.norm(self.conv(x)))))

        def train_one_batch(self, x, y):
            out = self.forward(x)
            loss = self.loss(out, y)
            self.optimizer(loss)
            return out, loss

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 2, 4, 4)).astype(np.float32), rng.integers(0, 3, 8).astype(np.int32)
    net, sgd = Net(), opt.SGD(0.1, momentum=0.9)
    net.set_optimizer(opt.DistOpt(sgd, devices=devices) if devices else sgd)
    net.compile([tensor.Tensor(data=x, device=dev)], is_train=True, use_graph=True)
    for name, t in net.get_states().items():
        if "running" not in name:
            t.copy_from_numpy(rng.normal(size=t.shape).astype(np.float32) * 0.3)
    tx, ty = tensor.Tensor(data=x, device=data), tensor.Tensor(data=y, device=data)
    losses = [float(tensor.to_numpy(net(tx, ty)[1]).ravel()[0]) for _ in range(3)]
    net.eval()
    return [*losses, *tensor.to_numpy(net(tx)).ravel()]

def singa_models():
    from aidgejax.frontends.singa.device import Device

    here, there = Device("cpu", 0), Device("cpu", 1)
    want = singa_model(here, here, None)
    for found in (singa_model(there, here, None), singa_model(there, here, [first, second])):
        np.testing.assert_allclose(found, want, rtol=0, atol=2e-6)
    singa_says()
    distopt_says()

def core():
    # Parameters on the second device, data on the first, in every call that takes both; and data of both devices.
    import aidgejax as aj

    graph = aj.with_loss(aj.infer_shapes(aj.zoo.mlp((6, 5, 3))), "cross_entropy")
    program, optimizer = aj.make_program(graph, training=True), aj.optim.adam()
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(24, 6)).astype(np.float32), rng.integers(0, 3, 24).astype(np.int32)
    params = jax.device_put(dict(graph.params), second)
    found = []
    for home in (first, second):
        batch, there = {"x": jax.device_put(x, first), "target": jax.device_put(y, home)}, jax.device_put(params, home)
        outputs, saved, _ = program.forward(there, {}, batch, jax.random.key(0))
        grads = program.backward(there, saved, {"loss": 1.0})
        state = jax.device_put(aj.start(program, optimizer, jax.random.key(0)), home)
        state, record = aj.make_step(program, optimizer, aj.schedule.constant(0.1))(state, batch)
        assert all(a.devices() == {home} for a in (outputs["loss"], *grads.values(), record["loss"]))
        ran = aj.run(graph, [batch["x"], batch["target"]], params=there)
        found.append([outputs["loss"], record["loss"], *grads.values(), *ran, *state.params.values()])
    for a, b in zip(*found, strict=True):
        assert (np.asarray(a) == np.asarray(b)).all()

def singa_says():
    # Two devices in one operation: which tensor lies where.
    from aidgejax.frontends.singa import autograd, tensor
    from aidgejax.frontends.singa.device import Device

    x = np.ones((2, 2), np.float32)
    here, there = (tensor.Tensor(data=x, device=Device("cpu", k)) for k in range(2))
    for mixed in (lambda: here + there, lambda: autograd.add(here, there)):
        try:
            mixed()
        except (AssertionError, ValueError) as e:
            assert "lies on cpu:0" in str(e) and "lies on cpu:1" in str(e) and "to_device" in str(e), e
        else:
            raise SystemExit("no error")

def distopt_says():
    # What DistOpt does not lay over both devices.
    import warnings
    from aidgejax.frontends.singa import autograd, opt, tensor

    autograd.training = True
    w = tensor.Tensor(data=np.ones((2, 3), np.float32), requires_grad=True, stores_grad=True)
    x = tensor.Tensor(data=np.ones((4, 2), np.float32))
    dist = opt.DistOpt(opt.SGD(0.1))
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        for _ in range(2):
            dist(autograd.reduce_sum(autograd.matmul(x, w)))
        dist.place(np.zeros((3, 2), np.float32)), dist.place(np.zeros((4, 2), np.float32))
    assert [str(n.message).split(":")[0] for n in noted] == [
        "DistOpt has 2 devices, and this step runs on one",
        "a batch of 3 rows cannot be split over 2 devices, so each of them computes all of it",
    ], [str(n.message) for n in noted]

def ort_module(data):
    # Parameters on JAX's first device, batches on `data`.
    import tempfile, onnx
    import aidgejax as aj
    from aidgejax.frontends.onnxruntime.training import artifacts
    from aidgejax.frontends.onnxruntime.training.api import CheckpointState, Module, Optimizer

    folder = tempfile.mkdtemp()
    artifacts.generate_artifacts(
        aj.onnxio.to_model(aj.zoo.mlp((6, 3))), requires_grad=["fc1.weight", "fc1.bias"], artifact_directory=folder,
        loss=artifacts.LossType.CrossEntropyLoss, optimizer=artifacts.OptimType.AdamW,
    )
    state = CheckpointState.load_checkpoint(f"{folder}/checkpoint")
    module = Module(f"{folder}/training_model.onnx", state, f"{folder}/eval_model.onnx")
    optimizer = Optimizer(f"{folder}/optimizer_model.onnx", module)
    rng = np.random.default_rng(0)
    losses = []
    for _ in range(3):
        x, y = rng.normal(size=(4, 6)).astype(np.float32), rng.integers(0, 3, 4)
        batch = [x, y] if data is None else [jax.device_put(x, data), jax.device_put(y.astype(np.int32), data)]
        losses.append(float(module(*batch)))
        optimizer.step()
        module.lazy_reset_grad()
    return losses

core()
singa_models()
assert ort_module(second) == ort_module(first) == ort_module(None)
assert (epoch(first) == epoch(second)).all()
tvm_tensors()
assert tvm_trainer(tvm.cpu(1), tvm.cpu(0)) == tvm_trainer(tvm.cpu(0), tvm.cpu(1)) == tvm_trainer(tvm.cpu(0), tvm.cpu(0))
assert (aihwkit_layer(second, first, None) == aihwkit_layer(None, None, None)).all()
there, here = train("cuda"), train("cpu")
assert np.allclose(there, here, rtol=1e-6), (there, here)
print("same", there)
"""


def test_loops_with_their_data_elsewhere_and_trainers_on_both_devices(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(SCRIPT)
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    env = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, str(script)], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("same")
