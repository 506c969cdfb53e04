"""aidge_backend_cuda: scripts import it to register Aidge's CUDA kernels.

Here the backend "cuda" is there where JAX has a CUDA device; set_backend("cuda") names the backends there are.
"""

from .._shared.absent_names import absent_name
from ..aidge_core.version import get_git_hash, get_project_version, show_version

__all__ = ["get_git_hash", "get_project_version", "show_version"]


def __getattr__(name: str) -> object:
    raise absent_name(__name__, name, {})
