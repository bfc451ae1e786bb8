"""The demo's work adds up the same, however the files are split."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, strategies as st

from skate.cli.demo_analysis import Report, Span, analyse, read_corpus, split_evenly

PROGRAM = """
import os, sys
from json.decoder import JSONDecoder

class A:
    async def f(self):
        for x in range(3):
            if x:
                print(os.path, x)
"""


def write_files(directory: Path) -> list[str]:
    (directory / "a.py").write_text(PROGRAM)
    (directory / "b.py").write_text("import os\n" + "def g():\n    pass\n" * 3)
    (directory / "broken.py").write_text("def (:\n")
    return sorted(str(path) for path in directory.iterdir())


def test_findings_of_a_small_corpus(tmp_path: Path) -> None:
    corpus = read_corpus([*write_files(tmp_path), str(tmp_path / "missing.py")])
    report = analyse(corpus.text, corpus.spans)
    assert (report.files, report.unparsable, report.classes, report.functions) == (3, 1, 1, 4)
    assert report.imports == {"os": 2, "sys": 1, "json": 1}
    assert report.deepest_nesting == (2, f"{tmp_path}/a.py:8")
    assert report.longest_function == (4, f"{tmp_path}/a.py:f")
    assert report.names["x"] == 3


def test_reports_add_up_in_any_order(tmp_path: Path) -> None:
    corpus = read_corpus(write_files(tmp_path))
    whole = analyse(corpus.text, corpus.spans)
    for order in (corpus.spans, corpus.spans[::-1]):
        added = Report()
        for span in order:
            added.add(analyse(memoryview(corpus.text), [span]))
        assert added == whole


@given(st.lists(st.integers(0, 1000)), st.integers(1, 8))
def test_a_split_has_every_file_once_and_no_group_too_large(sizes: list[int], parts: int) -> None:
    spans = [Span(str(i), 0, size) for i, size in enumerate(sizes)]
    groups = split_evenly(spans, parts)
    assert sorted(span.path for group in groups for span in group) == sorted(span.path for span in spans)
    assert len(groups) <= parts
    largest = max((sum(span.end for span in group) for group in groups), default=0)
    assert largest <= sum(sizes) / parts + max(sizes, default=0)
