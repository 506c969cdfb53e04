"""Every public name of aihwkit can be imported from where scripts import it; presets have the original's fields."""

import importlib
import subprocess
import sys
from enum import Enum

import pytest

from aidgejax.errors import AidgeJaxError
from aidgejax.frontends.aihwkit.exceptions import ConfigError

from ...golden.aihwkit import table

HERE = "aidgejax.frontends."
TABLE = table("import_paths")["names"]
PATHS = sorted({p for x in TABLE.values() for p in x["paths"]})


@pytest.mark.parametrize("path", PATHS)
def test_names_are_where_the_original_has_them(path):
    module = importlib.import_module(HERE + path)
    missing = [n for n, x in TABLE.items() if path in x["paths"] and not hasattr(module, n)]
    assert not missing


@pytest.mark.parametrize(
    "path, name",
    [("simulator.configs", "SingleRPUConfig"), ("simulator.configs.devices", "ConstantStepDevice"),
     ("simulator.presets", "ReRamESPreset")],
)  # fmt: skip
def test_what_is_out_of_scope_says_so_when_it_is_made(path, name):
    found = getattr(importlib.import_module(f"{HERE}aihwkit.{path}"), name)
    with pytest.raises(AidgeJaxError, match="in-memory training"):
        found()
    assert not importlib.import_module(f"{HERE}aihwkit.simulator.rpu_base").cuda.is_compiled()


def flat(value, path=""):
    """{dotted field: value} as the table of presets writes it."""
    if isinstance(value, Enum):
        return {path: f"{type(value).__name__}.{value.name}"}
    if isinstance(value, type):
        return {path: value.__name__}
    if not hasattr(value, "__dict__"):
        return {path: value}
    found = {f"{path}.__class__" if path else "__class__": type(value).__name__}
    for k, v in vars(value).items():
        found |= flat(v, f"{path}.{k}" if path else k)
    return found


PRESETS = {n: x for k, t in table("presets").items() if k.startswith(("inference", "web")) for n, x in t.items()}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_field_by_field(name):
    modules = [importlib.import_module(f"{HERE}aihwkit.simulator.presets.{m}") for m in ("inference", "web", "utils")]
    preset = next(getattr(m, name) for m in modules if hasattr(m, name))
    found, want = flat(preset()), PRESETS[name].get("all", PRESETS[name]["sets"])
    assert {k: found.get(k) for k in want if k in found} == {k: v for k, v in want.items() if k in found}
    left_out = {k for k in want if k not in found}
    assert all(k.split(".")[-1] in ("scale_ratio", "simulator_tile_class") for k in left_out), left_out


@pytest.mark.parametrize("module", table("import_paths")["modules"])
def test_every_module_is_there_or_says_what_to_use(module):
    try:
        importlib.import_module(HERE + module)
    except ImportError as e:
        assert isinstance(e, AidgeJaxError)


@pytest.mark.parametrize("name", ["visualization", "fitting"])
def test_pictures_and_fits_of_pulsed_devices_are_out_of_scope(name):
    with pytest.raises(ImportError, match="out of scope") as e:
        importlib.import_module(f"{HERE}aihwkit.utils.{name}")
    assert isinstance(e.value, AidgeJaxError)


def test_what_torch_modules_have_says_so_without_torch():
    """In a process of its own: another test may have imported torch."""
    script = (
        "from aidgejax.frontends.aihwkit.nn import AnalogLinear, AnalogSequential\n"
        "from aidgejax.frontends.aihwkit.simulator.configs import InferenceRPUConfig\n"
        "from aidgejax.errors import AidgeJaxError\n"
        "model = AnalogSequential(AnalogLinear(4, 3, rpu_config=InferenceRPUConfig()))\n"
        "for name in ('cuda', 'to', 'zero_grad'):\n"
        "    try:\n"
        "        getattr(model, name)()\n"
        "    except AttributeError as e:\n"
        "        assert isinstance(e, AidgeJaxError) and 'import torch' in str(e), e\n"
        "    else:\n"
        "        raise SystemExit(name)\n"
        "assert not hasattr(model, 'nothing_such')\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


@pytest.mark.parametrize(
    ("module", "name", "instead"),
    [
        ("simulator.configs", "SingleRPUConfig", "InferenceRPUConfig or TorchInferenceRPUConfig"),
        ("simulator.configs", "TorchInferenceRPUConfigIRDropT", "forward.ir_drop"),
        ("inference.converter.wpo", "WeightProgrammingOptimizer", "CustomPairConductanceConverter"),
        ("linalg", "AnalogMatrix", "AnalogLinear without a bias"),
        ("nn.low_precision_conversion", "convert_to_quantized", "aidgejax.quant"),
        ("utils.export", "fusion_export", "get_weights"),
    ],
)
def test_what_is_out_of_scope_says_what_to_use(module, name, instead):
    found = getattr(importlib.import_module(f"aidgejax.frontends.aihwkit.{module}"), name)
    with pytest.raises(ConfigError, match=f"^aihwkit.{module}.{name} is not there: .*{instead}"):
        found()
