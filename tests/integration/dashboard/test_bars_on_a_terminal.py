"""Plain tqdm in workers, as a person sees it: the program runs on a pseudo-terminal, and a small screen follows what it writes."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

from tests.integration.programs import REPOSITORY

COLUMNS, LINES = 100, 40

PROGRAM = """
import time
import skate

@skate.remote
def work(name, n):
    from tqdm import tqdm
    for _ in tqdm(range(n), desc=name):
        for _ in tqdm(range(2), desc=f"{name}-inner", leave=False):
            time.sleep(0.01)
    return n

skate.init(num_cpus=2)
refs = [work.remote("alpha", 20), work.remote("beta", 15)]
skate.get(refs[1])
print("the driver says something")
print(skate.get(refs))
"""


class Screen:
    """Understands what bars use: newline, carriage return, cursor up, erase down and erase to the end of the line."""

    def __init__(self) -> None:
        self.lines = [""]
        self.row = self.column = 0
        self.most = 0  # Bars of one name at one time, ever: above 1 they pile up.

    def feed(self, text: str) -> None:
        for part in re.findall(r"\x1b\[\d*[A-Za-z]|\x1b\[[\d;]*m|\r|\n|[^\x1b\r\n]+", text):
            if part == "\n":
                self.row += 1
                while self.row >= len(self.lines):
                    self.lines.append("")
            elif part == "\r":
                self.column = 0
            elif part.endswith("A") and part[0] == "\x1b":
                self.row -= int(part[2:-1] or 1)
            elif part == "\x1b[J":
                self.lines[self.row] = self.lines[self.row][: self.column]
                del self.lines[self.row + 1 :]
            elif part == "\x1b[K":
                self.lines[self.row] = self.lines[self.row][: self.column]
            elif part[0] != "\x1b":
                line = self.lines[self.row].ljust(self.column)
                self.lines[self.row] = line[: self.column] + part + line[self.column + len(part) :]
                self.column += len(part)
                self.most = max([self.most] + [sum(f" {name}:" in one for one in self.lines) for name in ("alpha", "beta")])


def run_on_a_terminal(path: Path) -> tuple[str, int]:
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    environ = {**os.environ, "XDG_RUNTIME_DIR": str(path.parent), "PYTHONPATH": str(REPOSITORY / "src"), "NO_COLOR": "1"}
    environ.pop("COLUMNS", None)
    program = subprocess.Popen(
        [sys.executable, str(path)], stdin=terminal, stdout=terminal, stderr=terminal, env=environ, start_new_session=True
    )
    os.close(terminal)
    data = b""
    try:
        while chunk := os.read(controller, 65536):
            data += chunk
    except OSError:  # The end of a terminal.
        pass
    os.close(controller)
    return data.decode("utf-8"), program.wait(30)


def test_bars_of_workers_are_redrawn_in_place_below_what_the_program_prints(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    text, status = run_on_a_terminal(tmp_path / "program.py")
    assert status == 0, text
    screen = Screen()
    screen.feed(text)
    assert text.count("beta:") > 1  # It was drawn while it went.
    assert screen.most == 1, text
    left = [line for line in screen.lines if line]
    assert sum("20/20" in line for line in left) == 1, left
    assert sum("15/15" in line for line in left) == 1, left
    assert not any("inner" in line for line in left), left
    assert any(line == "the driver says something" for line in left), left
    assert any(line == "[20, 15]" for line in left), left
    assert all(len(line) <= COLUMNS for line in left)
    assert len(left) == 4, left


def test_in_a_pipe_a_bar_is_one_line_when_it_is_done(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    environ = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "PYTHONPATH": str(REPOSITORY / "src")}
    done = subprocess.run([sys.executable, str(tmp_path / "program.py")], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout == "the driver says something\n[20, 15]\n"
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert sorted(re.findall(r"(\w+): 100%.*\| (\d+/\d+)", done.stderr)) == [("alpha", "20/20"), ("beta", "15/15")]
    assert "\x1b" not in done.stderr
    assert "\r" not in done.stderr


def test_bars_with_a_file_of_their_own_are_left_alone(tmp_path: Path) -> None:
    source = PROGRAM.replace("desc=name)", "desc=name, file=open(f'{name}.txt', 'w'))").replace(
        "skate.init", f"import os; os.chdir('{tmp_path}'); skate.init"
    )
    (tmp_path / "program.py").write_text(source)
    environ = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "PYTHONPATH": str(REPOSITORY / "src")}
    subprocess.run(
        [sys.executable, str(tmp_path / "program.py")], env=environ, capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert "20/20" in (tmp_path / "alpha.txt").read_text()
