"""tvm.error."""

from .errors import InternalError
from .errors import ScriptError as DiagnosticError

TVMError = InternalError

__all__ = ["DiagnosticError", "InternalError", "TVMError"]
