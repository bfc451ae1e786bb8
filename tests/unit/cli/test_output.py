"""Figures as a person reads them."""

from __future__ import annotations

import pytest

from skate.cli import output


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (150_000, "150 kB"), (2_500_000_000, "2.5 GB"), (5e15, "5000 TB")],
)
def test_sizes(count: float, text: str) -> None:
    assert output.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.02, "20 ms"), (3.14, "3.1 s"), (125, "2 min 5 s"), (3700, "1 h 1 min"), (90_000, "1 d 1 h")]
)
def test_durations(seconds: float, text: str) -> None:
    assert output.duration(seconds) == text


def test_cells_use_what_a_column_is_called() -> None:
    assert output.cell(1500, "size_bytes") == "1.5 kB"
    assert output.cell(None) == "-"
    assert output.cell({"CPU": 2.0}) == "CPU=2"
    assert output.cell("x" * 100).endswith("…")


def test_a_table_without_a_terminal_has_aligned_columns(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table([{"a": 1, "b": "x"}, {"a": 100, "b": "y"}], ["a", "b"], empty="none")
    assert capsys.readouterr().out == "A    B\n1    x\n100  y\n"
    output.print_table([], ["a"], empty="none")
    assert capsys.readouterr().out == "none\n"
