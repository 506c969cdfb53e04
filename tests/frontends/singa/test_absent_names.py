"""Names that SINGA has and this front end has not: the import says what to use instead."""

import importlib

import pytest

from aidgejax.errors import AidgeJaxError
from aidgejax.frontends import singa

ABSENT = {
    "from aidgejax.frontends.singa import snapshot": "save_states",
    "import aidgejax.frontends.singa.image_tool": "NumPy",
    "from aidgejax.frontends.singa.optimizer import SGD": "version 3",
    "from aidgejax.frontends.singa.singa_wrap import ConvHandle": "singa.layer",
    "from aidgejax.frontends.singa.singa_wrap import NcclIdHolder": "DistOpt",
}


@pytest.mark.parametrize("statement", ABSENT)
def test_the_import_says_what_to_use(statement):
    with pytest.raises(ImportError, match=ABSENT[statement]) as e:
        exec(statement, {})
    assert isinstance(e.value, AidgeJaxError)


def test_modules_are_still_asked_as_usual():
    assert not hasattr(singa, "snapshot") and not hasattr(singa, "nothing_of_the_kind")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("aidgejax.frontends.singa.nothing_of_the_kind")


def test_the_metaclasses_of_layers_and_models_are_there():
    from aidgejax.frontends.singa import layer, model

    assert type(layer.Linear) is layer.LayerMeta and type(model.Model) is model.ModelMeta
