"""Every public name of the originals is here, or says what to use instead: none is a bare AttributeError."""

import importlib
import importlib.util

import pytest

from aidgejax.errors import AidgeJaxError
from aidgejax.frontends.onnxruntime import _original_names as onnxruntime_names
from aidgejax.frontends.tvm import _original_names as tvm_names

ROOT = "aidgejax.frontends"
ORIGINALS = {"onnxruntime": onnxruntime_names, "tvm": tvm_names}


def here(front_end, module):
    """The module, or None where importing it says why not."""
    try:
        return importlib.import_module(f"{ROOT}.{front_end}.{module}".rstrip("."))
    except ImportError as e:
        assert isinstance(e, AidgeJaxError), f"{module}: {e}"
        assert "is not in aidgejax: " in str(e)
        return None


@pytest.mark.parametrize("front_end", ORIGINALS)
def test_every_name_is_here_or_says_what_to_use(front_end):
    names = ORIGINALS[front_end].NAMES
    found = {m: here(front_end, m) for m in names}
    assert sum(m is not None for m in found.values()) > len(names) // 3
    for module, text in names.items():
        for name in text.split() if found[module] else ():
            try:
                getattr(found[module], name)
            except AttributeError as e:
                assert isinstance(e, AidgeJaxError), f"{module}.{name}"
                assert f"{module}.{name} is not in aidgejax: " in str(e)


@pytest.mark.parametrize("front_end", ORIGINALS)
def test_sentences_belong_to_names_that_the_original_has(front_end):
    for module in ORIGINALS[front_end].WHY:
        assert any(f"{m}.".startswith(f"{module}.".lstrip(".")) for m in ORIGINALS[front_end].NAMES), module


@pytest.mark.parametrize(
    ("statement", "advice"),
    [
        ("from aidgejax.frontends.onnxruntime.training import ORTModule", "torch.onnx.export"),
        ("from aidgejax.frontends.onnxruntime.training.ortmodule import ORTModule", "torch.onnx.export"),
        ("from aidgejax.frontends.onnxruntime.training.optim import FusedAdam", "aidgejax.optim"),
        ("from aidgejax.frontends.onnxruntime.training import amp", "precision|16 bits"),
        ("from aidgejax.frontends.tvm.relax.op import roi_align", "relax.from_onnx"),
        ("from aidgejax.frontends.tvm.relax.frontend.nn import Embedding", "export it to ONNX"),
        ("from aidgejax.frontends.tvm.relax.expr_functor import PyExprMutator", "passes.edit"),
        ("from aidgejax.frontends.tvm.script.relax import call_tir", "relax.op"),
        ("import aidgejax.frontends.onnxruntime.quantization", "import the installed onnxruntime's"),
    ],
)
def test_imports_say_what_to_use(statement, advice):
    with pytest.raises(ImportError, match=advice) as e:
        exec(statement, {})
    assert isinstance(e.value, AidgeJaxError)


def test_inference_is_the_installed_onnxruntimes():
    real = pytest.importorskip("onnxruntime")
    from aidgejax.frontends.onnxruntime import InferenceSession, OrtValue

    assert (InferenceSession, OrtValue) == (real.InferenceSession, real.OrtValue)
