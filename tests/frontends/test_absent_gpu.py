"""A script that chooses its GPU, on a machine without one, gets an error that names the cure."""

import jax
import pytest

from aidgejax.errors import BackendError

pytestmark = pytest.mark.skipif(jax.default_backend() == "gpu", reason="this machine has a GPU")


def aidge():
    import aidgejax.frontends.aidge_core as aidge_core

    aidge_core.sequential([aidge_core.FC(3, 2, name="fc")]).set_backend("cuda")


def singa():
    from aidgejax.frontends.singa import device

    device.create_cuda_gpu()


def tvm():
    from aidgejax.frontends import tvm

    assert not tvm.cuda(0).exist and not tvm.cpu(7).exist and tvm.cpu().exist
    tvm.runtime.tensor([1.0], tvm.cuda(1))


@pytest.mark.parametrize("chosen", [aidge, singa, tvm])
def test_the_message_says_what_there_is_and_what_to_do(chosen):
    with pytest.raises(BackendError, match=r"(?s)\bcpu\b.*(no NVIDIA GPU|JAX does not use).*") as raised:
        chosen()
    assert "cuda13" in str(raised.value) or "JAX_PLATFORMS" in str(raised.value)
    assert "\n" not in str(raised.value)
