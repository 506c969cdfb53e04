"""aidge_backend_cpu: scripts import it to register Aidge's CPU kernels.  Here the backend "cpu" is always there."""

from .._shared.absent_names import absent_name
from ..aidge_core.version import get_git_hash, get_project_version, show_version

__all__ = ["get_git_hash", "get_project_version", "show_version"]

ABSENT = {
    "benchmark": "time a scheduler's forward instead; get_forward_scheduling() says what each node took where a graph "
    "runs node by node",
}


def __getattr__(name: str) -> object:
    raise absent_name(__name__, name, ABSENT)
