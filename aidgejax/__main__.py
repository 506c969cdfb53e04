"""`python -m aidgejax`, and the script `aidgejax`: see aidgejax/cli."""

import os
import sys
from typing import NoReturn

from .cli.main import main

__all__ = ["main"]


def leave() -> NoReturn:
    """Run the command and end the process."""
    code = main()
    if code in (130, 143):  # a compiled program may still run, and would outlive what it works on
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    leave()
