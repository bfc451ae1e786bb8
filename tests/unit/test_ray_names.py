"""docs/how-to/ray-names.md is true: what it says is here is here, and what it says is not here is not."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import skate
from skate import api, options

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "ray-names.md"
STATUSES = ("yes", "accepted", "no")


def rows() -> list[tuple[str, str, str]]:
    """(title of the table, name, status) of each name on the page."""
    found = []
    title = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            title = line.removeprefix("## ").strip("`")
        elif line.startswith("| `"):
            names, status, _note = (part.strip() for part in line.strip("|").split("|"))
            found += [(title, name, status) for name in re.findall(r"`([^`]+)`", names)]
    return found


ROWS = rows()


def find(path: str) -> Any:
    """The module, or the attribute of one, as an import statement finds it. Raises ImportError, AttributeError."""
    parts = path.split(".")
    for depth in range(len(parts), 0, -1):
        # The longest module first: in Ray, and so here, `util.placement_group` is a module and a function.
        try:
            thing: Any = importlib.import_module(".".join(parts[:depth]))
        except ImportError:
            continue
        for part in parts[depth:]:
            thing = getattr(thing, part)
        return thing
    raise ImportError(path)


def exists(path: str) -> bool:
    try:
        find(path)
    except (ImportError, AttributeError):
        return False
    return True


TABLES: dict[str, Callable[[str], bool]] = {
    "ray.init()": lambda name: name in inspect.signature(skate.init).parameters or name in api._ACCEPTED,
    "options of a task": lambda name: name in options.TASK_OPTIONS,
    "options of an actor": lambda name: name in options.ACTOR_OPTIONS,
    "options of a method": lambda name: name in options.METHOD_OPTIONS,
}


@pytest.mark.parametrize("title", dict.fromkeys(title for title, _, _ in ROWS))
def test_the_table_is_true(title: str) -> None:
    is_here = TABLES.get(title) or (lambda name: exists(f"skate{title.removeprefix('ray')}.{name}"))
    names = [(name, status) for one, name, status in ROWS if one == title]
    assert {status for _, status in names} <= set(STATUSES)
    assert not [name for name, status in names if status != "no" and not is_here(name)], "said to be here"
    assert not [name for name, status in names if status == "no" and is_here(name)], "said not to be here"


def test_every_public_name_of_the_top_level_is_on_the_page() -> None:
    on_page = {name for title, name, _ in ROWS if title == "ray"}
    own = {
        "dashboard",
        "metrics",
        "progress",
        "publish",
        "recreate_error_locally",
        "remote_function",
        "report",
        "state",
    }  # Skate's own modules: in Ray they are elsewhere, or private.
    assert set(skate.__all__) - on_page == own


def test_options_of_ray_are_all_on_the_page() -> None:
    for title, known in (("options of a task", options.TASK_OPTIONS), ("options of an actor", options.ACTOR_OPTIONS)):
        on_page = {name for one, name, _ in ROWS if one == title}
        assert set(known) - on_page <= {"_metadata"}


def test_it_names_most_of_ray_core() -> None:
    assert len(ROWS) > 350
