"""Type checkers see the arguments of `remote` and the results of `get`."""

from __future__ import annotations

from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "typed_program.py"
ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(120)
def test_mypy_finds_the_mistakes_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    api = pytest.importorskip("mypy.api")
    monkeypatch.chdir(ROOT)
    output, _errors, _status = api.run(
        ["--strict", "--follow-imports=silent", "--no-error-summary", "--hide-error-context", str(PROGRAM)]
    )
    found = {int(line.split(":")[1]) for line in output.splitlines() if ": error:" in line}
    wrong = {number for number, line in enumerate(PROGRAM.read_text().splitlines(), 1) if line.endswith("# wrong")}
    assert found == wrong, output
