"""Which of onnx's node tests pass?

python -m tests.onnxio.node_tests              what fails, why, and what is not on the lists yet
python -m tests.onnxio.node_tests --write      and put what passes now on the lists, which only grow
python -m tests.onnxio.node_tests --backend numpy --only attention
"""

import argparse
import signal
import sys
import warnings
from collections import defaultdict

from . import BACKENDS, FOLDER, check, listed, node_tests

SECONDS = 60


def why_not(test, backend):
    """None where the test passes, else the reason in a line."""
    signal.alarm(SECONDS)
    try:
        check(test, backend)
    except Exception as e:  # whatever it is, it is what is asked for
        return f"{type(e).__name__}: {' '.join(str(e).split())[:200]}"
    finally:
        signal.alarm(0)
    return None


def too_late(*_):
    raise TimeoutError(f"not done after {SECONDS} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=BACKENDS, action="append")
    parser.add_argument("--only", default="", help="tests whose name contains this")
    parser.add_argument("--write", action="store_true", help="add what passes to the lists")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, too_late)
    lost = False
    for backend in args.backend or BACKENDS:
        before, passing, failing = set(listed(backend)), set(), defaultdict(list)
        for test in node_tests().values():
            if args.only in test.name:
                reason = why_not(test, backend)
                passing.add(test.name) if reason is None else failing[reason].append(test.name)
        for reason, names in sorted(failing.items(), key=lambda found: -len(found[1])):
            print(f"{len(names):4} {', '.join(names[:3])}: {reason}")
        gone = [n for names in failing.values() for n in names if n in before]
        new = sorted(passing - before)
        print(f"{backend}: {len(passing)} pass, of them not listed {len(new)} {new[:5]}; listed, but failing: {gone}")
        lost = lost or bool(gone)
        if args.write:
            (FOLDER / f"{backend}.txt").write_text("\n".join(sorted(before | passing)) + "\n")
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
