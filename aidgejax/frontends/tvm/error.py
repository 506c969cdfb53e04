"""tvm.error."""

from .errors import InternalError, TVMError
from .errors import ScriptError as DiagnosticError

__all__ = ["DiagnosticError", "InternalError", "TVMError"]
