"""Writes docs/how-to/backends.md: on which backends each conformance test runs, and why not on the others. `python docs/make_backends_table.py`."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
OUT = REPOSITORY / "docs" / "how-to" / "backends.md"
BACKENDS = ("inline", "local", "ray")
NOT_INLINE = "needs processes of its own: running at the same time, being killed, being interrupted"
NOT_RAY = "of what only Skate's own processes do"


def main() -> None:
    found: dict[str, set[str]] = defaultdict(set)
    for backend in BACKENDS:
        for test in collected(backend):
            found[test].add(backend)
    OUT.write_text(page(dict(sorted(found.items())), differences()), encoding="utf-8")
    print(f"wrote {OUT}")


def collected(backend: str) -> list[str]:
    """The names of the conformance tests that run there, without parameters."""
    told = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "tests/conformance", f"--backend={backend}"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    )  # fmt: skip
    names = re.findall(r"^tests/conformance/(\S+?)\.py::(\w+)(\S*)$", told.stdout, re.MULTILINE)
    return [f"{module}::{test}" for module, test, parameters in names if backend in re.split(r"[\[\]-]", parameters)]


def differences() -> dict[str, str]:
    spec = importlib.util.spec_from_file_location("not_on_ray", REPOSITORY / "tests" / "conformance" / "not_on_ray.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    told: dict[str, str] = module.DIFFERENCES
    return told


def page(found: dict[str, set[str]], not_on_ray: dict[str, str]) -> str:
    reasons = {name.partition("[")[0]: reason for name, reason in not_on_ray.items()}
    rows = []
    full = 0
    for test, backends in found.items():
        short = test.rpartition("/")[2]
        on = {name: name in backends for name in BACKENDS}
        why = []
        if not on["inline"]:
            why.append(f"inline: {NOT_INLINE}")
        if not on["ray"]:
            why.append(f"ray: {NOT_RAY}")
        elif short in reasons:
            parameters = [name.partition("[")[2].rstrip("]") for name in not_on_ray if name.startswith(f"{short}[")]
            on["ray"] = bool(parameters)
            why.append(f"ray{' (' + ', '.join(parameters) + ')' if parameters else ''}: {reasons[short]}")
        if not why:
            full += 1
            continue
        marks = " | ".join("yes" if on[name] else "–" for name in BACKENDS)
        rows.append(
            f"| `{short.replace('::', '` · ')} | {marks} | {'; '.join(why)} |".replace("· test_", "· ").replace("|  ", "| ")
        )
    head = [
        "# What runs where",
        "",
        (
            "Made by `python docs/make_backends_table.py` from the conformance suite: the same test bodies run on every backend. "
            f"Of {len(found)} tests, {full} run on all three; these do not:"
        ),
        "",
        "| test | inline | local | ray | why not |",
        "|---|---|---|---|---|",
    ]
    return "\n".join([*head, *rows]) + "\n"


if __name__ == "__main__":
    main()
