"""What a target can do is what it is given."""

import pytest

import aidgejax as aj
from aidgejax import quant
from aidgejax.errors import GraphError, SettingError

from .test_deploy import deployed, lenet


def test_a_target_s_own_scheme_fits_it():
    _, integers, _ = deployed(aj.zoo.mlp((6, 8, 3)), quant.targets["shift"].scheme(4))
    assert quant.misfits(integers, "shift") == []
    q, integers, _ = deployed(aj.zoo.mlp((6, 8, 3)), quant.targets["aidge"].scheme(8))
    assert quant.misfits(integers, "aidge") == []
    assert [n.op for n in quant.to_integer(q, "aidge").nodes] == [n.op for n in integers.nodes]


def test_what_does_not_fit_is_named():
    _, integers, _ = lenet()
    assert any("conv1.weight" in m and "6 steps" in m for m in quant.misfits(integers, "aidge"))
    small = quant.Target("tiny", weights=(4,), activations=(4,), accumulator=8, operators=("Conv",))
    found = quant.misfits(integers, small)
    assert any("conv1.weight" in m and "4 bits" in m for m in found)
    assert any("beyond 8 bits" in m for m in found) and any("no MaxPool" in m for m in found)
    _, free, _ = deployed(aj.zoo.mlp((6, 8, 3)), quant.bits(8))
    assert any("no power of two" in m for m in quant.misfits(free, "shift"))


def test_mistakes_are_named():
    with pytest.raises(SettingError, match="no weights of 16 bits"):
        quant.targets["cortex-m"].scheme(16)
    with pytest.raises(SettingError, match="scales by shifts"):
        quant.targets["shift"].scheme(8, step="learned")
    with pytest.raises(SettingError, match="no target 'z80'"):
        quant.misfits(lenet()[1], "z80")
    with pytest.raises(GraphError, match=r"does not fit target 'aidge': .*conv1.weight.* 6 steps"):
        quant.to_integer(lenet()[0], target="aidge")
