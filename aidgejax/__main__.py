"""`python -m aidgejax`: see aidgejax/cli."""

import os
import sys

from .cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    code = main()
    if code in (130, 143):  # a compiled program may still run, and would outlive what it works on
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
