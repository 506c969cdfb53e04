"""torch in front of the tiles: needs torch (run with -m peer)."""

import copy
import inspect
import io
import pickle
import subprocess
import sys

import numpy as np
import pytest

from aidgejax.analog import analog_post_update
from aidgejax.errors import BackendError, GraphError
from aidgejax.frontends.aihwkit.exceptions import TileError
from aidgejax.frontends.aihwkit.inference import (
    BaseDriftCompensation,
    BaseNoiseModel,
    GlobalDriftCompensation,
    PCMLikeNoiseModel,
    drift_analog_weights,
    program_analog_weights,
)
from aidgejax.frontends.aihwkit.inference.converter.base import BaseConductanceConverter
from aidgejax.frontends.aihwkit.nn import (
    AnalogConv1dMapped,
    AnalogConv2d,
    AnalogConv2dMapped,
    AnalogLinear,
    AnalogLinearMapped,
    AnalogRNN,
    AnalogSequential,
)
from aidgejax.frontends.aihwkit.nn.conversion import convert_to_analog, convert_to_digital
from aidgejax.frontends.aihwkit.nn.modules.rnn import cells
from aidgejax.frontends.aihwkit.optim import AnalogAdam, AnalogOptimizer, AnalogSGD
from aidgejax.frontends.aihwkit.simulator import configs
from aidgejax.frontends.aihwkit.utils.analog_info import analog_summary

from ...golden.aihwkit import INFERENCE, config_of, family

pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("ignore")]
torch = pytest.importorskip("torch")


def cases(name):
    return [pytest.param(c, id=c["name"]) for c in family(name, INFERENCE)]


def config_from(case):
    return config_of({**case, "config": {k: v for k, v in case["config"].items() if "." in k}})


def realistic(kind=configs.TorchInferenceRPUConfig):
    config = kind()
    config.pre_post.input_range.enable = True
    config.mapping.weight_scaling_omega = 1.0
    return config


def mlp(config, seed=0):
    torch.manual_seed(seed)
    return AnalogSequential(
        AnalogLinear(6, 5, rpu_config=config), torch.nn.Tanh(), AnalogLinear(5, 3, rpu_config=config)
    )


def described(state):
    """Shapes and dtypes of a state_dict as the golden cases write them."""
    return {k: "dict" if isinstance(v, dict) else [list(v.shape), str(v.dtype)[6:]] for k, v in state.items()}


@pytest.mark.parametrize("kind", [configs.TorchInferenceRPUConfig, configs.InferenceRPUConfig])
def test_tensors_and_arrays_give_the_same_bits(kind):
    a, b = (AnalogLinear(6, 5, rpu_config=realistic(kind), seed=3) for _ in "ab")
    x = np.random.default_rng(0).normal(size=(7, 6)).astype(np.float32)
    dy = np.random.default_rng(1).normal(size=(7, 5)).astype(np.float32)
    t = torch.tensor(x, requires_grad=True)
    y = a(t)
    assert isinstance(y, torch.Tensor) and y.requires_grad
    y.backward(torch.tensor(dy))
    np.testing.assert_array_equal(y.detach(), b(x))
    np.testing.assert_array_equal(t.grad, b.backward(dy))
    assert set(a.grads) == set(b.grads) and {"weight", "bias", "input_range"} <= set(a.grads)
    for name, g in b.grads.items():
        np.testing.assert_array_equal(a.grads[name], g)


def test_a_mix_within_one_step_is_refused():
    layer = AnalogLinear(6, 5, rpu_config=realistic())
    layer(torch.zeros(2, 6))
    with pytest.raises(TileError, match="loss.backward"):
        layer.backward(np.zeros((2, 5), np.float32))
    with pytest.raises(TileError, match="float32"):
        layer(torch.zeros(2, 6, dtype=torch.float64))


@pytest.mark.parametrize("kind", [AnalogSGD, AnalogAdam])
def test_training_in_place_changes_no_array_and_no_old_output(kind):
    model = mlp(realistic())
    optimizer = kind(model.parameters(), lr=0.05)
    optimizer.regroup_param_groups(model)
    assert isinstance(optimizer, torch.optim.SGD if kind is AnalogSGD else torch.optim.Adam)
    x, y = torch.randn(16, 6), torch.randn(16, 3)
    kept, losses = [], []
    for _ in range(30):
        optimizer.zero_grad()
        out = model(x)
        loss = ((out - y) ** 2).mean()
        arrays = dict(model[0].params)
        kept.append((out.detach(), out.detach().clone(), arrays, {k: np.array(v) for k, v in arrays.items()}))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    for out, copied, arrays, numbers in kept:
        assert torch.equal(out, copied)
        assert all(np.array_equal(arrays[k], numbers[k]) for k in numbers)


def test_several_forwards_before_one_backward():
    config = configs.TorchInferenceRPUConfig()
    config.forward.is_perfect = True
    layer = AnalogLinear(4, 3, bias=False, rpu_config=config)
    w = layer.get_weights()[0].numpy()
    x1, x2 = torch.randn(5, 4, requires_grad=True), torch.randn(2, 4, requires_grad=True)
    y1, y2 = layer(x1), layer(x2)
    (y1.sum() + 3 * y2.sum()).backward()
    np.testing.assert_allclose(x1.grad, np.ones((5, 3)) @ w, rtol=1e-5)
    np.testing.assert_allclose(x2.grad, 3 * np.ones((2, 3)) @ w, rtol=1e-5)
    want = np.ones((3, 5)) @ x1.detach().numpy() + 3 * np.ones((3, 2)) @ x2.detach().numpy()
    np.testing.assert_allclose(layer.analog_module.tile.weight.grad, want, rtol=1e-4, atol=1e-5)


def test_weights_written_before_the_backward_are_noticed():
    layer = AnalogLinear(4, 3, rpu_config=realistic())
    y = layer(torch.randn(2, 4))
    with torch.no_grad():
        layer.analog_module.tile.weight.add_(1.0)
    with pytest.raises(RuntimeError, match="inplace"):
        y.sum().backward()


@pytest.mark.parametrize("kind", [configs.TorchInferenceRPUConfig, configs.InferenceRPUConfig])
def test_saved_and_loaded_training_goes_on_to_the_same_bits(kind):
    def run(model, optimizer, steps):
        x, y = torch.linspace(-1, 1, 60).reshape(10, 6), torch.linspace(0, 1, 30).reshape(10, 3)
        for _ in range(steps):
            optimizer.zero_grad()
            ((model(x) - y) ** 2).mean().backward()
            optimizer.step()

    config = realistic(kind)
    config.modifier.type, config.modifier.std_dev = configs.WeightModifierType.ADD_NORMAL, 0.05
    model, other = mlp(config), mlp(config, seed=9)
    optimizer, second = (AnalogAdam(m.parameters(), lr=0.02) for m in (model, other))
    run(model, optimizer, 4)
    file = io.BytesIO()
    torch.save((model.state_dict(), optimizer.state_dict()), file)
    file.seek(0)
    held, moments = torch.load(file)
    other.load_state_dict(held)
    second.load_state_dict(moments)
    run(model, optimizer, 4)
    run(other, second, 4)
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_drifted_checkpoint_loads_and_drifts_on():
    model, other = mlp(realistic()).eval(), mlp(realistic(), seed=5).eval()
    program_analog_weights(model, None)
    drift_analog_weights(model, 3600.0)
    assert model[0].analog_module.alpha.item() != 1
    other.load_state_dict(copy.deepcopy(model.state_dict()))
    x = torch.randn(3, 6)
    assert torch.equal(other[0].analog_module.alpha, model[0].analog_module.alpha)
    drift_analog_weights(model, 86400.0)
    drift_analog_weights(other, 86400.0)
    assert torch.equal(model[0].get_weights()[0], other[0].get_weights()[0]) and model(x).shape == (3, 3)


class Block(torch.nn.Module):
    """Layers below one another, and a Sequential within a Sequential."""

    def __init__(self):
        super().__init__()
        n = torch.nn
        self.a, self.norm = n.Linear(6, 5), n.LayerNorm(5)
        self.inner = n.Sequential(n.Linear(5, 5, bias=False), n.ReLU(), n.Sequential(n.Linear(5, 4)))

    def forward(self, x):
        return self.inner(self.norm(self.a(x)))


class MyLinear(torch.nn.Linear):
    """A subclass of what is converted is not converted."""


class Odd(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = torch.nn.Parameter(torch.zeros(3))
        self.mine = MyLinear(6, 6)
        self.lst = torch.nn.ModuleList([torch.nn.Linear(6, 6), torch.nn.Tanh()])

    def forward(self, x):
        return self.lst[1](self.lst[0](self.mine(x)))


NETS = {
    "linear": lambda n: n.Linear(6, 4),
    "linear_nobias": lambda n: n.Linear(6, 4, bias=False),
    "cnn": lambda n: n.Sequential(
        n.Conv2d(1, 3, 3, padding=1), n.BatchNorm2d(3), n.ReLU(), n.MaxPool2d(2), n.Flatten(), n.Linear(12, 4)
    ),
    "conv1d": lambda n: n.Sequential(n.Conv1d(2, 3, 2, stride=2)),
    "nested": lambda n: Block(),
    "subclass_and_list": lambda n: Odd(),
    "wide": lambda n: n.Sequential(n.Linear(9, 7), n.ReLU(), n.Linear(7, 2)),
    "lstm_inside": lambda n: n.ModuleDict({"rnn": n.LSTM(4, 3), "head": n.Linear(3, 2)}),
    "mlp": lambda n: n.Sequential(n.Linear(6, 5), n.Tanh(), n.Linear(5, 3)),
}


@pytest.mark.parametrize("case", cases("conversion"))
def test_conversion(case):
    i, e = case["inputs"], case["expected"]
    net = NETS[case["config"]["net"]](torch.nn)
    net.load_state_dict({k[6:]: torch.tensor(v) for k, v in i.items() if k.startswith("state.")}, strict=False)
    made = convert_to_analog(net, config_from(case), **case["config"]["kwargs"])
    assert type(made).__name__ == e["root"] and type(net).__name__ == e["root_before"]
    assert [[n, type(m).__name__] for n, m in made.named_modules()] == e["modules"]
    assert [[n, p.requires_grad] for n, p in made.named_parameters()] == e["parameters"]
    assert described(made.state_dict()) == e["state_dict"]
    if e["tiles"] is not None:  # a root that is no analog module cannot be asked
        assert [[n, *t.shape] for n, t in made.named_analog_tiles()] == e["tiles"]
        assert made.analog_tile_count() == e["analog_tile_count"]
    if "y" in e:  # the original's torch tile has no convolution of one axis
        np.testing.assert_allclose(made.eval()(torch.tensor(i["x"])).detach(), e["y"], rtol=1e-5, atol=1e-5)
    back = convert_to_digital(made)
    assert [[n, type(m).__name__] for n, m in back.named_modules()] == e["digital_modules"]
    assert described(back.state_dict()) == e["digital_state_dict"]
    if "digital_y" in e:
        np.testing.assert_allclose(back.eval()(torch.tensor(i["x"])).detach(), e["digital_y"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", cases("mapped"))
def test_mapped_layers(case):
    kinds = {k.__name__: k for k in (AnalogLinearMapped, AnalogConv1dMapped, AnalogConv2dMapped, AnalogLinear)}
    i, e = case["inputs"], case["expected"]
    kind = kinds[case["config"]["cls"]]
    layer = kind(
        *case["config"]["args"], bias="b" in i, rpu_config=config_from(case), **case["config"].get("kwargs", {})
    )
    layer.set_weights(torch.tensor(i["w"]), torch.tensor(i["b"]) if "b" in i else None)
    assert described(layer.state_dict()) == e["state_dict"]
    assert [[n, *t.shape] for n, t in layer.named_analog_tiles()] == e["tiles"]
    if "y" in e:  # the original's torch tile has no convolution of one axis
        np.testing.assert_allclose(layer.eval()(torch.tensor(i["x"])).detach(), e["y"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", cases("rnn"))
def test_recurrent_networks(case):
    i, e, c = case["inputs"], case["expected"], case["config"]
    net = AnalogRNN(getattr(cells, c["cell"]), *c["args"], rpu_config=config_from(case), **c["kwargs"])
    layers = [m for m in net.modules() if isinstance(m, AnalogLinear)]
    for k, layer in enumerate(layers):
        layer.set_weights(i[f"w_{k}"], i.get(f"b_{k}"))
    assert [n for n, _ in net.named_parameters()] == e["parameters"]
    assert [[n, type(m).__name__] for n, m in net.named_modules()] == e["modules"]
    x = torch.tensor(i["x"], requires_grad=True)
    y, states = net(x)
    (y * torch.tensor(i["g"])).sum().backward()
    np.testing.assert_allclose(y.detach(), e["y"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(x.grad, e["grad_x"], rtol=1e-4, atol=1e-5)
    assert len(states) == c["kwargs"].get("num_layers", 1)


@pytest.mark.parametrize("case", cases("optimizer_state"))
def test_optimizer_states(case):
    e, c = case["expected"], case["config"]
    config = config_from(case)
    model = mlp(config)
    kwargs = {k: tuple(v) if isinstance(v, list) else v for k, v in c["kwargs"].items()}
    if c["optimizer"] in ("AnalogSGD", "AnalogAdam"):
        optimizer = {"AnalogSGD": AnalogSGD, "AnalogAdam": AnalogAdam}[c["optimizer"]](model.parameters(), **kwargs)
    else:
        optimizer = AnalogOptimizer(getattr(torch.optim, c["optimizer"].split(":")[-1]), model.parameters(), **kwargs)
    if c["regroup"]:
        optimizer.regroup_param_groups(model)
    x = torch.randn(4, 6)
    for _ in range(c["steps"]):
        optimizer.zero_grad()
        (model(x) ** 2).sum().backward()
        optimizer.step()
    names = {id(p): n for n, p in model.named_parameters()}
    assert list(names.values()) == e["parameter_names"]
    assert [[names[id(p)] for p in g["params"]] for g in optimizer.param_groups] == e["group_parameter_names"]
    state = optimizer.state_dict()
    shapes = {
        str(k): {n: list(v.shape) for n, v in s.items() if hasattr(v, "shape")} for k, s in state["state"].items()
    }
    assert {k: {n: s for n, s in v.items() if n in shapes.get(k, {})} for k, v in e["state"].items()} == shapes


@pytest.mark.parametrize("case", [c for c in cases("summary") if c.values[0]["config"]["net"] == "mlp"])
def test_summary(case):
    e = case["expected"]
    found = analog_summary(mlp(config_from(case)), case["inputs"]["input_size"])
    rows = [layer.layer_summary_dict() | {"tiles": layer.tiles_summary_dict()} for layer in found.layer_summary]
    assert rows == e["rows"]
    assert (found.total_tile_number, found.total_nb_analog) == (e["total_tile_number"], e["total_nb_analog"])
    assert found.model_name == e["model_name"] and len(repr(found).splitlines()[0]) == 200


def test_a_convolution_trains_by_torch():
    torch.manual_seed(0)
    model = AnalogSequential(
        AnalogConv2d(1, 4, 3, rpu_config=realistic()),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        AnalogLinear(64, 2, rpu_config=realistic()),
    )
    optimizer = AnalogSGD(model.parameters(), lr=0.05)
    x, y = torch.randn(32, 1, 6, 6), torch.randint(2, (32,))
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1


class Weaker(BaseNoiseModel):
    """Every device loses a tenth when it is programmed, and drifts with one exponent."""

    def apply_programming_noise_to_conductance(self, g_target):
        return torch.clamp(0.9 * g_target, min=0.0)

    def generate_drift_coefficients(self, g_target):
        return torch.full_like(g_target, 0.05)

    def apply_drift_noise_to_conductance(self, g_prog, nu_drift, t_inference):
        return g_prog * ((t_inference + 20) / 20) ** -nu_drift


class Doubled(BaseDriftCompensation):
    def readout(self, out_tensor):
        return torch.clamp(2 * torch.mean(torch.abs(out_tensor)), min=1e-4)


class OneScale(BaseConductanceConverter):
    """A converter in a script's terms: torch's functions, no base class's arguments."""

    def __init__(self):
        super().__init__()
        self.g_max = 25.0

    def convert_to_conductances(self, weights):
        scale = self.g_max / torch.max(torch.abs(weights)).clamp(min=1e-7)
        return [(s * scale * weights).clamp(min=0) for s in (1, -1)], {"scale": scale}

    def convert_back_to_weights(self, conductances, params):
        return (conductances[0] - conductances[1]) / params["scale"]


def test_a_converter_of_a_scripts_own_is_called_with_tensors():
    quiet = PCMLikeNoiseModel(g_converter=OneScale(), prog_noise_scale=0.0, read_noise_scale=0.0, drift_scale=0.0)
    config = configs.InferenceRPUConfig(noise_model=quiet, drift_compensation=None)
    layer = AnalogLinear(4, 3, rpu_config=config).eval()
    w = layer.get_weights()[0].clone()
    layer.program_analog_weights()
    layer.drift_analog_weights(1e5)
    torch.testing.assert_close(layer.get_weights()[0], w)
    noisy, nus = quiet.apply_programming_noise(w)
    torch.testing.assert_close(quiet.apply_drift_noise(noisy, nus, 100.0), w)
    torch.testing.assert_close(quiet.apply_noise(w, 100.0), w)


class Asking(BaseDriftCompensation):
    """Reads out by two inputs of its own."""

    def readout(self, out_tensor):
        assert out_tensor.shape == (2, 3)
        return torch.clamp(out_tensor.abs().max(), min=1e-4)

    def get_readout_tensor(self, in_size):
        return torch.ones(2, in_size)


def test_a_compensation_asks_with_the_inputs_that_it_says():
    config = configs.InferenceRPUConfig(drift_compensation=Asking())
    config.forward.is_perfect, config.noise_model = True, Weaker()
    layer = AnalogLinear(4, 3, bias=False, rpu_config=config).eval()
    layer.program_analog_weights()
    before = layer(torch.ones(1, 4))
    layer.drift_analog_weights(1e4)
    torch.testing.assert_close(layer(torch.ones(1, 4)), before, rtol=1e-4, atol=1e-5)
    assert layer.analog_module.alpha.item() > 1
    assert list(inspect.signature(AnalogSGD).parameters) == list(inspect.signature(torch.optim.SGD).parameters)


def test_noise_models_and_compensations_of_a_scripts_own():
    config = configs.InferenceRPUConfig()
    config.forward.is_perfect, config.noise_model, config.drift_compensation = True, Weaker(), None
    layer = AnalogLinear(4, 3, bias=False, rpu_config=config).eval()
    w = layer.get_weights()[0].clone()
    layer.program_analog_weights()
    np.testing.assert_allclose(layer.get_weights()[0] / w, np.full((3, 4), 0.9), rtol=1e-5)
    layer.drift_analog_weights(80.0)
    np.testing.assert_allclose(layer.get_weights()[0] / w, np.full((3, 4), 0.9 * 5**-0.05), rtol=1e-5)
    config.drift_compensation = Doubled()
    layer = AnalogLinear(4, 3, bias=False, rpu_config=config).eval()
    x = torch.randn(2, 4)
    y = layer(x)
    layer.drift_analog_weights(1e4)
    np.testing.assert_allclose((layer(x) / y).detach(), np.full((2, 3), 0.9), rtol=1e-4)


@pytest.mark.parametrize("kind", [configs.InferenceRPUConfig, configs.TorchInferenceRPUConfig])
def test_half_precision_trains(kind):
    """Tensors of 16 bits are computed with in float32: the layer's own numbers, rounded."""
    torch.manual_seed(0)
    config = kind()
    config.forward.is_perfect = True
    layer = AnalogLinear(4, 3, rpu_config=config).to(dtype=torch.bfloat16)
    x, target = torch.randn(8, 4, dtype=torch.bfloat16), torch.randn(8, 3)
    optimizer, losses = AnalogSGD(layer.parameters(), lr=0.1), []
    for _ in range(5):
        optimizer.zero_grad()
        y = layer(x)
        loss = ((y.float() - target) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    weight = next(p for n, p in layer.named_parameters() if n.endswith(("shared_weights", "tile.weight")))
    assert y.dtype == weight.dtype == weight.grad.dtype == torch.bfloat16
    assert losses == sorted(losses, reverse=True) and losses[-1] < losses[0]


def test_a_checkpoint_goes_from_the_torch_tile_to_the_explicit_one_and_back():
    torch.manual_seed(0)
    x, models = torch.randn(2, 4), []
    for config in (configs.TorchInferenceRPUConfig(), configs.InferenceRPUConfig(), configs.TorchInferenceRPUConfig()):
        config.forward.is_perfect = True
        models.append(AnalogSequential(AnalogLinear(4, 3, rpu_config=config)).eval())
    for old, new in zip(models[:-1], models[1:], strict=True):
        new.load_state_dict(old.state_dict())
    np.testing.assert_allclose(models[2](x).detach(), models[0](x).detach(), rtol=1e-6)


def test_a_layer_of_one_output_trains():
    layer = AnalogLinear(4, 1, rpu_config=configs.InferenceRPUConfig())
    layer(torch.randn(2, 4)).sum().backward()
    assert layer.analog_module.bias.grad.shape == (1,)


def test_what_a_drifted_tile_shows():
    config = configs.InferenceRPUConfig()
    config.noise_model, config.drift_compensation = PCMLikeNoiseModel(), GlobalDriftCompensation()
    layer = AnalogLinear(4, 3, rpu_config=config).eval()
    tile = layer.analog_module
    assert tile.drift_noise_parameters is None and tile.tile.get_d_size() == 3
    layer.drift_analog_weights(1000.0)
    assert f"{tile.alpha.cpu().numpy():.3f}" and layer(torch.ones(1, 4)).shape == (1, 3)
    assert [tuple(n.shape) for n in tile.drift_noise_parameters] == [(3, 4)] * 2


def test_a_sequence_that_was_made_before_torch_was_imported_takes_tensors_afterwards():
    script = (
        "from aidgejax.frontends.aihwkit.nn import AnalogLinear, AnalogSequential\n"
        "from aidgejax.frontends.aihwkit.simulator.configs import InferenceRPUConfig\n"
        "model = AnalogSequential(AnalogLinear(4, 3, rpu_config=InferenceRPUConfig()))\n"
        "import torch\n"
        "assert model.cpu() is model and isinstance(model, torch.nn.Sequential)\n"
        "model(torch.ones(2, 4)).sum().backward()\n"
        "assert [n for n, p in model.named_parameters() if p.grad is not None]\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=300)


def small_cnn(*between):
    config = realistic()
    config.modifier.type, config.modifier.std_dev = configs.WeightModifierType.ADD_NORMAL, 0.05
    torch.manual_seed(3)
    layers = [AnalogConv2d(2, 3, 3, padding=1, rpu_config=config), torch.nn.ReLU(), torch.nn.MaxPool2d(2), *between]
    fc = [AnalogLinear(12, 6, rpu_config=config), torch.nn.Tanh(), AnalogLinear(6, 4, rpu_config=config)]
    return AnalogSequential(*layers, torch.nn.Flatten(), *fc, torch.nn.LogSoftmax(dim=1))


def one_by_one(model, x):
    for module in model:
        x = module(x)
    return x


@pytest.mark.parametrize("between", [(), (torch.nn.BatchNorm2d(3), torch.nn.Dropout(0.5))], ids=["chain", "broken"])
def test_a_sequence_is_what_its_modules_are_one_by_one(between):
    """Outputs, gradients, ranges and draws: a sequence runs neighbours as one program."""
    model = small_cnn(*between)
    other = copy.deepcopy(model)
    x = torch.randn(5, 2, 4, 4)
    for k in range(3):
        results = []
        for mine, call in ((model, AnalogSequential.forward), (other, one_by_one)):
            mine.train(k < 2)
            mine.zero_grad()
            torch.manual_seed(k)
            here = x.clone().requires_grad_(k == 1)
            first, second = call(mine, here), call(mine, here)
            (first[:, 0].sum() + 2 * second[:, 1].sum()).backward()
            held = {n: v for n, v in mine.state_dict().items() if torch.is_tensor(v)}
            grads = {n: p.grad for n, p in mine.named_parameters() if p.grad is not None}
            results.append((first.detach(), second.detach(), held, grads, here.grad))
        torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-5)
        assert len(results[0][3]) > 8 and not torch.equal(results[0][0], results[0][1]) or k == 2


def test_hooks_in_a_sequence_see_their_module_called():
    model, seen = small_cnn(), []
    model[1].register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    with torch.no_grad():
        assert not model(torch.zeros(2, 2, 4, 4)).requires_grad
        assert seen == [(2, 3, 4, 4)]
        other, x = copy.deepcopy(model.eval()), torch.ones(2, 2, 4, 4)
        torch.testing.assert_close(model(x), one_by_one(other, x))


def test_a_layer_twice_in_a_sequence_and_inputs_that_do_not_fit():
    layer = AnalogLinear(4, 4, rpu_config=realistic())
    twice, other = AnalogSequential(layer, torch.nn.Tanh(), layer), copy.deepcopy(layer)
    x = torch.randn(3, 4)
    torch.testing.assert_close(twice(x), other(torch.tanh(other(x))))
    assert layer.analog_module.input_range_update_idx.item() == 2
    model = AnalogSequential(layer, torch.nn.Tanh(), AnalogLinear(5, 2, rpu_config=realistic()))
    with pytest.raises(GraphError, match=r"AnalogLinear\(5, 2\) got an input of shape \[3, 4\]"):
        model(x)
    pooled = AnalogSequential(torch.nn.MaxPool2d(2), torch.nn.Tanh(), AnalogLinear(2, 2, rpu_config=realistic()))
    assert pooled(torch.randn(3, 4, 4)).shape == (3, 2, 2)


def test_a_converted_model_with_an_empty_shortcut_is_summed_up_saved_and_copied():
    class Residual(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.shortcut = torch.nn.Linear(4, 4), torch.nn.Sequential()

        def forward(self, x):
            return {"y": self.fc(x=x) if self.fc is None else self.fc(x) + self.shortcut(x)}

    model = convert_to_analog(Residual(), realistic())
    assert analog_summary(model, (1, 4)).total_tile_number == 1
    other, file = copy.deepcopy(model), io.BytesIO()
    assert type(other).__name__ == "AnalogWrapperResidual" and isinstance(other, Residual)
    kept = convert_to_analog(torch.nn.Sequential(Block(), torch.nn.Tanh()), realistic())
    kept(torch.ones(2, 6)).sum().backward()
    torch.save(convert_to_analog(Block(), realistic()), file)
    torch.save(kept, file := io.BytesIO())
    file.seek(0)
    again = torch.load(file, weights_only=False).eval()
    torch.testing.assert_close(again(torch.ones(2, 6)), kept.eval()(torch.ones(2, 6)))


def test_weights_are_set_and_read_with_and_without_scales():
    model = mlp(realistic())
    layer, w = model[0], torch.linspace(-0.5, 0.25, 30).reshape(5, 6)
    layer.set_weights(w, torch.ones(5), weight_scaling_omega=0.5)
    torch.testing.assert_close(layer.get_weights()[0], w)
    held = layer.get_weights(apply_weight_scaling=False)[0]
    torch.testing.assert_close(held, w)  # its largest is 0.5 already
    model.remap_analog_weights()
    torch.testing.assert_close(layer.get_weights(apply_weight_scaling=False)[0], 2 * w)
    layer.set_weights(w, apply_weight_scaling=False)
    torch.testing.assert_close(layer.get_weights()[0], w / 2)
    with pytest.raises(TypeError, match="force_exact"):
        layer.set_weights(w, force_exact=True)
    assert next(model.analog_tiles()).rpu_config is layer.rpu_config


def test_weights_are_cut_off_after_a_step_as_the_pure_function_does_it():
    fixed, spread = (realistic(configs.InferenceRPUConfig) for _ in "ab")
    fixed.clip.type, fixed.clip.fixed_value = configs.WeightClipType.FIXED_VALUE, 0.3
    spread.clip.type = configs.WeightClipType.LAYER_GAUSSIAN
    layers = [AnalogLinear(6, 5, rpu_config=c, seed=k) for k, c in enumerate((fixed, spread, fixed, fixed))]
    weights = [next(p for n, p in layer.named_parameters() if n.endswith("weights")) for layer in layers]
    with torch.no_grad():
        weights[0][0, :3] = torch.tensor([float("nan"), -0.0, 0.3])
        weights[2].data = weights[2].data.t().contiguous().t()  # not in order
    layers[3].half()
    before = [w.detach().float().numpy().copy() for w in weights]
    optimizer = AnalogSGD([p for layer in layers for p in layer.parameters()], lr=0.1)
    optimizer.step()
    for layer, weight, was in zip(layers, weights, before, strict=True):
        want, _ = analog_post_update({"weight": was}, {}, layer.rpu_config)
        assert np.array_equal(np.signbit(want["weight"]), np.signbit(weight.detach().float().numpy()))
        torch.testing.assert_close(
            weight.detach(), torch.tensor(np.array(want["weight"])).to(weight.dtype), rtol=0, atol=0, equal_nan=True
        )
    assert weights[2].detach().abs().max() == np.float32(0.3) and np.abs(before[2]).max() > 0.35


def test_what_a_model_remembers_of_its_calls_follows_what_is_done_to_it():
    ideal = realistic()
    ideal.forward.is_perfect = True
    model, x = mlp(ideal).eval(), torch.randn(4, 6) / 2
    model(x)
    copied = copy.deepcopy(model)
    with torch.no_grad():
        copied[2].analog_module.tile.weight.data = torch.zeros(3, 5)  # other memory
        copied[2].analog_module.bias.mul_(0).add_(2)  # in place
    assert torch.equal(copied(x), torch.full((4, 3), 2.0)) and not torch.equal(model(x), copied(x))
    weight = model[0].analog_module.tile.weight
    square = torch.randn(5, 5)
    before = AnalogSequential(AnalogLinear(5, 5, bias=False, rpu_config=ideal)).eval()
    held = before[0].analog_module.tile.weight
    with torch.no_grad():
        held.copy_(square)
        first = before(torch.eye(5))
        held.data = held.data.t()  # the same memory, read otherwise
        assert torch.allclose(before(torch.eye(5)), first.t(), atol=1e-5) and not torch.equal(first, first.t())
    again = pickle.loads(pickle.dumps(model))
    assert torch.equal(again(x), model(x)) and again[0].analog_module.tile.weight is not weight
    model[1] = torch.nn.ReLU()
    assert torch.equal(model(x), one_by_one(model, x))
    model[0].analog_module.tile.weight = torch.nn.Parameter(torch.zeros(6, 6))
    with pytest.raises(TileError, match=r"AnalogLinear: 'weight' has shape \[6, 6\], expected \[5, 6\]"):
        model(x)


def test_memory_that_is_used_again_holds_nothing_that_is_still_asked_for():
    config = realistic()
    model = AnalogSequential(AnalogLinear(40, 300, rpu_config=config, seed=1), torch.nn.Tanh(),
                             AnalogLinear(300, 2, rpu_config=config, seed=2))  # fmt: skip
    xs = [torch.randn(200, 40, generator=torch.Generator().manual_seed(k)) for k in range(4)]  # 240 kB handed over

    def gradient(y, **how):
        model.zero_grad()
        y.sum().backward(**how)
        return model[0].analog_module.tile.weight.grad.clone()

    model(xs[0]).sum().backward()  # the range takes its first value
    start = copy.deepcopy(model.state_dict())
    draws = [layer.draws() for layer in (model[0], model[2])]
    wanted = [gradient(model(x)) for x in xs]
    model.load_state_dict(start)
    for layer, at in zip((model[0], model[2]), draws, strict=True):
        layer.go_on_from(*at)
    outputs = [model(x) for x in xs]  # all are alive
    got = [gradient(y, retain_graph=True) for y in outputs]
    again = [gradient(y) for y in outputs]
    for a, b, c in zip(wanted, got, again, strict=True):
        assert torch.equal(a, b) and torch.equal(b, c)


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch has a GPU here")
@pytest.mark.parametrize(
    "move", [lambda m: m.cuda(), lambda m: m.to("cuda:0"), lambda m: torch.nn.Sequential(m).cuda()]
)
def test_a_gpu_that_torch_does_not_have_is_said_with_the_cure(move):
    with pytest.raises(AssertionError, match=r"cannot go to a GPU of torch \(.*leave .cuda\(\).*For JAX: ") as raised:
        move(mlp(realistic()))
    assert isinstance(raised.value, BackendError)


def test_a_seed_gives_the_first_weights_that_it_gives_torchs_layers():
    pairs = [(torch.nn.Linear, AnalogLinear, (4, 3)), (torch.nn.Conv2d, AnalogConv2d, (2, 3, 3))]
    torch.manual_seed(3)
    plain = [kind(*sizes) for kind, _, sizes in pairs]
    after = torch.rand(2)
    torch.manual_seed(3)
    for digital, (_, kind, sizes) in zip(plain, pairs, strict=True):
        weight, bias = kind(*sizes, rpu_config=configs.InferenceRPUConfig()).get_weights()
        assert torch.equal(weight, digital.weight.reshape(weight.shape)) and torch.equal(bias, digital.bias)
    assert torch.equal(torch.rand(2), after)


def test_an_optimizer_of_any_class_is_an_analog_one():
    optimizer = AnalogOptimizer(torch.optim.AdamW, mlp(realistic()).parameters(), lr=0.1)
    assert isinstance(optimizer, AnalogOptimizer) and isinstance(optimizer, torch.optim.AdamW)
    copied = copy.deepcopy(optimizer)
    assert copied.param_groups[0]["lr"] == 0.1
    with pytest.raises(ValueError, match=r"AnalogSGD.*[Ii]nvalid learning rate"):
        AnalogSGD(mlp(realistic()).parameters(), lr=-1)
    with pytest.raises(KeyError, match="param_groups"):
        optimizer.load_state_dict({})


def test_the_optimizers_may_be_imported_after_the_first_layer():
    code = (
        "import torch\n"
        "from aidgejax.frontends.aihwkit.nn import AnalogLinear\n"
        "layer = AnalogLinear(4, 3)\n"
        "from aidgejax.frontends.aihwkit.optim import AnalogSGD\n"
        "assert isinstance(AnalogSGD(layer.parameters(), lr=0.1), torch.optim.SGD)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_states_of_rnns_are_checked():
    made = AnalogRNN(cells.AnalogLSTMCell, 3, 4, True, configs.InferenceRPUConfig(), num_layers=2)
    x = torch.randn(5, 2, 3)
    _, states = made(x)
    made(x, states)
    for wrong in ([1, 2], states[:1], [states[0], (states[1][0],)], [states[0], (torch.ones(2, 9), states[1][1])]):
        with pytest.raises(RuntimeError, match="the states of AnalogRNN"):
            made(x, wrong)
    with pytest.raises(RuntimeError, match=r"\[time, batch, features\]"):
        made(x[0])
