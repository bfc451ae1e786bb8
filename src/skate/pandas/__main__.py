"""`python -m skate.pandas script.py [ARGS…]` and `python -m skate.pandas -m module [ARGS…]`: run a pandas program, unchanged and faster."""

from __future__ import annotations

import runpy
import sys

from skate.pandas.install import install

_USAGE = "usage: python -m skate.pandas script.py [ARGS...]\n       python -m skate.pandas -m module [ARGS...]\n"


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help") or arguments == ["-m"]:
        sys.stderr.write(_USAGE)
        return 0 if arguments and arguments[0] != "-m" else 2
    install()
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        return 0
    import os

    sys.argv = arguments
    sys.path[0] = os.path.dirname(os.path.abspath(arguments[0]))
    runpy.run_path(arguments[0], run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
