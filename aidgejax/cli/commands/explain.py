"""What an error means and what cures it: a section of the errors page, without a network.

python -m aidgejax explain input-shape
"""

from __future__ import annotations

import argparse
import difflib
import re
from importlib import resources

from ...errors import SettingError

HELP = "what an error means and what cures it"
EXAMPLES = (
    "explain",
    "explain labels",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="as a message names it at its end (default: list them)")


def run(args: argparse.Namespace) -> None:
    found = sections()
    if args.name is None:
        print(*found, sep="\n")
        return
    known = {k.lower(): k for k in found}
    if args.name.lower() not in known:
        near = difflib.get_close_matches(args.name.lower(), known, 3)
        names = ", ".join(known[k] for k in near) or ", ".join(found)
        raise SettingError(
            f"there is nothing to explain under {args.name!r}; {'near to it' if near else 'there is'}: {names}"
        )
    print(f"{known[args.name.lower()]}\n\n{found[known[args.name.lower()]]}")


def sections() -> dict[str, str]:
    """{name: text} of assets/errors.md."""
    text = resources.files("aidgejax").joinpath("assets/errors.md").read_text(encoding="utf-8")
    parts = re.split(r"^## (.+)$", text, flags=re.M)
    return {name.strip(): body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}
