"""What is not there says on import what to use instead, whole modules included."""

import importlib
import sys

import pytest

from aidgejax.errors import AidgeJaxError

MODULES = {
    "aidge_export_cpp": "quantize --target c",
    "aidge_export_arm_cortexm": "quantize --target c",
    "aidge_interop_torch": "torch.onnx.export",
    "aidge_core.export_utils": "quantize --target c",
    "aidge_onnx.node_import": "becomes a GenericOperator",
    "aihwkit.cloud": "IBM's service",
    "aihwkit.experiments": "aidgejax.train",
    "onnxruntime.training.ortmodule": "torch.onnx.export",
    "singa.snapshot": "save_states",
    "tvm.te": "relax.op",
    "tvm._ffi": "tvm.error",
    "tvm.relax.ty": "tvm.relax.TensorType",
}
NAMES = {
    ("singa", "snapshot"): "save_states",
    ("onnxruntime.training", "ORTModule"): "torch.onnx.export",
    ("tvm.relax.expr", "Function"): "take it from tvm.relax",
}


@pytest.mark.parametrize("name", MODULES)
def test_an_absent_module(name):
    package = f"aidgejax.frontends.{name}".rpartition(".")[0]
    importlib.import_module(package)
    with pytest.raises(ImportError, match=f"is not in aidgejax: .*{MODULES[name]}") as e:
        importlib.import_module(f"aidgejax.frontends.{name}")
    assert isinstance(e.value, AidgeJaxError) and e.value.topic == "absent-name"


@pytest.mark.parametrize("module, name", NAMES)
def test_an_absent_name(module, name):
    there = importlib.import_module(f"aidgejax.frontends.{module}")
    assert not hasattr(there, name) and not hasattr(there, "no_such")
    with pytest.raises(ImportError, match=f"{name} is not in aidgejax: .*{NAMES[module, name]}"):
        exec(f"from aidgejax.frontends.{module} import {name}")
    with pytest.raises(AttributeError, match="has no attribute 'no_such'"):
        _ = there.no_such


def test_conversion_of_torch_models_without_torch_names_the_other_way(monkeypatch):
    from aidgejax.frontends.aihwkit.nn.conversion import convert_to_analog

    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(AidgeJaxError, match="torch is not installed .*aidgejax.analog.convert_to_analog"):
        convert_to_analog(object(), None)
