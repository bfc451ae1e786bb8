"""Programs in Markdown files, and what they are to print.

A fenced `python` block is a program; a `text` block that follows it is its output, where a line `…` stands for any lines. `<!-- not run: why -->`
before a block leaves it out. In a file with `<!-- one program: … -->` all blocks are one program.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"(?P<mark><!-- not run: [^\n]+ -->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_ONE_PROGRAM = re.compile(r"^<!-- one program", re.MULTILINE)


@dataclass
class Snippet:
    """`line` is where the program starts in the file."""

    path: Path
    line: int
    source: str
    output: str | None


def snippets_of(path: Path) -> list[Snippet]:
    text = path.read_text(encoding="utf-8")
    found: list[Snippet] = []
    end = 0
    for match in _BLOCK.finditer(text):
        language = match["language"]
        line = text.count("\n", 0, match.start("text")) + 1
        if language == "python" and not match["mark"]:
            found.append(Snippet(path, line, match["text"], None))
        elif language == "text" and found and not text[end : match.start()].strip() and found[-1].output is None:
            found[-1].output = match["text"]
        end = match.end()
    if found and _ONE_PROGRAM.search(text):
        whole = "\n".join(snippet.source for snippet in found)
        return [Snippet(path, found[0].line, whole, "".join(snippet.output or "" for snippet in found))]
    return found


def matches(expected: str, actual: str) -> bool:
    """Whether the output is as written; a line `…` in it stands for any lines."""
    pattern = r"\n".join(r".*?" if line.strip() == "…" else re.escape(line) for line in expected.rstrip().split("\n"))
    return re.fullmatch(pattern, actual.rstrip(), re.DOTALL) is not None
