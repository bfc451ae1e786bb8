"""The demo's work: what Python source is made of. Plain functions of text; no engine in sight.

files → Corpus (one buffer, a span for each file) → analyse(span) → Report; reports add up in any order.
"""

from __future__ import annotations

import ast
import os
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview

_LOOPS_AND_BRANCHES = (ast.For, ast.AsyncFor, ast.While, ast.If, ast.Try, ast.With, ast.AsyncWith, ast.Match)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True, slots=True)
class Span:
    """One file's place in the corpus, in bytes."""

    path: str
    start: int
    end: int


@dataclass
class Corpus:
    text: bytearray
    spans: list[Span]


@dataclass
class Report:
    """What was found in some files. Equal reports mean equal findings: nothing in it depends on the order of the files."""

    files: int = 0
    size_bytes: int = 0
    lines: int = 0
    unparsable: int = 0
    functions: int = 0
    classes: int = 0
    nodes: Counter[str] = field(default_factory=Counter)  # kind of syntax → how often
    names: Counter[str] = field(default_factory=Counter)  # identifier → how often
    imports: Counter[str] = field(default_factory=Counter)  # top-level module → imported by so many files
    longest_function: tuple[int, str] = (0, "")  # (lines, "path:name")
    deepest_nesting: tuple[int, str] = (0, "")  # (levels of blocks, "path:line")

    def add(self, other: Report) -> None:
        self.files += other.files
        self.size_bytes += other.size_bytes
        self.lines += other.lines
        self.unparsable += other.unparsable
        self.functions += other.functions
        self.classes += other.classes
        self.nodes += other.nodes
        self.names += other.names
        self.imports += other.imports
        self.longest_function = max(self.longest_function, other.longest_function)
        self.deepest_nesting = max(self.deepest_nesting, other.deepest_nesting)


def installed_source() -> list[str]:
    """Every Python file of the standard library and of this environment's site-packages."""
    stdlib = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
    packages = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    found: set[str] = set()
    for top in stdlib | packages:
        for directory, below, files in os.walk(top):
            if top in stdlib:  # In a virtual environment these are the packages of the Python it was made from.
                below[:] = [name for name in below if name not in ("site-packages", "dist-packages")]
            found.update(os.path.realpath(os.path.join(directory, name)) for name in files if name.endswith(".py"))
    return sorted(found)


def read_corpus(paths: Iterable[str]) -> Corpus:
    """All text in one buffer, that many processes can share."""
    text = bytearray()
    spans = []
    for path in paths:
        try:
            content = Path(path).read_bytes()
        except OSError:
            continue  # A dangling link, or a file of somebody else.
        spans.append(Span(path, len(text), len(text) + len(content)))
        text += content
    return Corpus(text, spans)


def split_evenly(spans: Sequence[Span], parts: int) -> list[list[Span]]:
    """At most `parts` groups of about the same size in bytes: the largest file goes to the smallest group so far."""
    sizes = [0] * parts
    groups: list[list[Span]] = [[] for _ in range(parts)]
    for span in sorted(spans, key=lambda span: (span.start - span.end, span.path)):
        smallest = sizes.index(min(sizes))
        groups[smallest].append(span)
        sizes[smallest] += span.end - span.start
    return [group for group in groups if group]


def analyse(text: Buffer, spans: Iterable[Span]) -> Report:
    """The findings of some files."""
    report = Report()
    for span in spans:
        _analyse_file(bytes(text[span.start : span.end]), span.path, report)
    return report


def _analyse_file(source: bytes, path: str, report: Report) -> None:
    report.files += 1
    report.size_bytes += len(source)
    report.lines += source.count(b"\n")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Invalid escapes of others are not ours to mend.
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        report.unparsable += 1  # Test data of the standard library, mostly: broken on purpose.
        return
    modules: set[str] = set()
    kinds: Counter[str] = Counter()
    pending: list[tuple[ast.AST, int]] = [(tree, 0)]
    while pending:
        node, depth = pending.pop()
        kinds[type(node).__name__] += 1
        if isinstance(node, ast.Name):
            report.names[node.id] += 1
        elif isinstance(node, ast.Attribute):
            report.names[node.attr] += 1
        elif isinstance(node, _FUNCTIONS):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            report.longest_function = max(report.longest_function, (length, f"{path}:{node.name}"))
            depth = 0
        elif isinstance(node, _LOOPS_AND_BRANCHES):
            depth += 1
            if depth >= report.deepest_nesting[0]:
                report.deepest_nesting = max(report.deepest_nesting, (depth, f"{path}:{node.lineno}"))
        elif isinstance(node, ast.Import):
            modules.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules.add(node.module.partition(".")[0])
        # ast.iter_child_nodes, written out: this loop is where the time goes.
        for name in node._fields:
            value = getattr(node, name, None)
            if isinstance(value, list):
                for item in value:
                    if isinstance(item, ast.AST):
                        pending.append((item, depth))
            elif isinstance(value, ast.AST):
                pending.append((value, depth))
    report.functions += kinds["FunctionDef"] + kinds["AsyncFunctionDef"]
    report.classes += kinds["ClassDef"]
    report.nodes += kinds
    report.imports.update(modules)
