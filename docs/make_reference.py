"""Writes docs/reference/*.md from the docstrings and signatures of the public API: `make docs`."""

from __future__ import annotations

import importlib
import inspect
import shutil
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
MODULES = (
    "skate", "skate.exceptions", "skate.state", "skate.metrics", "skate.util", "skate.util.actor_pool", "skate.util.queue",
    "skate.util.multiprocessing", "skate.util.joblib", "skate.util.dask", "skate.util.collective", "skate.util.placement_group",
    "skate.util.scheduling_strategies", "skate.util.metrics", "skate.runtime_context", "skate.runtime_env", "skate.cluster_utils",
    "skate.experimental", "skate.testing",
)  # fmt: skip


def main() -> None:
    out = HERE / "reference"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    index = ["# Reference", "", "Made by `make docs` from the docstrings.", ""]
    for name in MODULES:
        module = importlib.import_module(name)
        (out / f"{name}.md").write_text(page(module), encoding="utf-8")
        index.append(f"* [{name}]({name}.md): {first_line(module)}")
    (out / "README.md").write_text("\n".join(index) + "\n", encoding="utf-8")
    print(f"wrote {len(MODULES) + 1} pages to {out}")


def page(module: Any) -> str:
    """One module's page."""
    lines = [f"# {module.__name__}", "", inspect.getdoc(module) or "", ""]
    for name in public_names(module):
        value = getattr(module, name)
        if inspect.isclass(value):
            lines += [f"## class `{name}{signature(value)}`", "", text_of(value), ""]
            for method, function in sorted(vars(value).items()):
                if not method.startswith("_") and callable(getattr(value, method, None)) and inspect.getdoc(function):
                    lines += [f"### `{name}.{method}{signature(getattr(value, method))}`", "", text_of(function), ""]
        elif callable(value):
            lines += [f"## `{name}{signature(value)}`", "", text_of(value), ""]
    return "\n".join(lines).rstrip() + "\n"


def public_names(module: Any) -> list[str]:
    names = getattr(module, "__all__", None)
    if names is None:
        names = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    return [name for name in sorted(names) if not name.startswith("_") and not inspect.ismodule(getattr(module, name))]


def signature(value: Any) -> str:
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return "(…)"
    parameters = [one.replace(annotation=_unquoted(one.annotation)) for one in found.parameters.values()]
    return str(found.replace(parameters=parameters, return_annotation=_unquoted(found.return_annotation)))


class _Text(str):
    """An annotation as it was written: `inspect` would show it in quotes."""

    def __repr__(self) -> str:
        return str(self)


def _unquoted(annotation: Any) -> Any:
    return _Text(annotation) if isinstance(annotation, str) else annotation


def text_of(value: Any) -> str:
    """The docstring, with its sections (Args, Returns, Raises) as they are."""
    doc = inspect.getdoc(value) or ""
    head, mark, rest = doc, "", ""
    for section in ("Args:", "Returns:", "Raises:"):
        if f"\n{section}\n" in doc:
            at = doc.index(f"\n{section}\n")
            if at < len(head):
                head, mark, rest = doc[:at], section, doc[at + 1 :]
    return head if not mark else f"{head.rstrip()}\n\n```text\n{rest.rstrip()}\n```"


def first_line(module: Any) -> str:
    return (inspect.getdoc(module) or "").partition("\n")[0]


if __name__ == "__main__":
    main()
