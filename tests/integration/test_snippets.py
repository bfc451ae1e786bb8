"""Every program in the README and in docs/ runs, and prints what stands below it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.programs import REPOSITORY, assert_nothing_left, run_program
from tests.integration.snippets import Snippet, matches, snippets_of

DOCS = REPOSITORY / "docs"
# docs/reference is made from docstrings, whose examples are fragments.
FILES = [REPOSITORY / "README.md", *sorted(path for path in DOCS.rglob("*.md") if "reference" not in path.parts)]
SNIPPETS = [snippet for path in FILES for snippet in snippets_of(path)]


@pytest.mark.parametrize("snippet", SNIPPETS, ids=[f"{one.path.relative_to(REPOSITORY)}:{one.line}" for one in SNIPPETS])
def test_snippet_prints_what_stands_below_it(snippet: Snippet, tmp_path: Path) -> None:
    done = run_program(snippet.source, tmp_path)
    assert done.returncode == 0, done.stderr
    if snippet.output is not None:
        assert matches(snippet.output, done.stdout), f"printed:\n{done.stdout}\n{done.stderr}"
    assert_nothing_left(tmp_path)


def test_the_readme_shows_a_program_and_its_output() -> None:
    first = snippets_of(REPOSITORY / "README.md")[0]
    assert "@skate.remote" in first.source
    assert first.output


def test_links_lead_somewhere() -> None:
    import re

    broken = [
        f"{path.relative_to(REPOSITORY)}: {target}"
        for path in FILES
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
        if not (path.parent / target).exists()
    ]
    assert not broken
