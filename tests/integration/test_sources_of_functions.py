"""Where functions come from: `__main__`, an interactive session, a notebook's cells, modules that are edited."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.integration.programs import REPOSITORY, run_program


def test_functions_and_classes_of_a_program(tmp_path: Path) -> None:
    program = run_program(
        """
        from __future__ import annotations
        import dataclasses, enum, functools
        import skate

        FACTOR = 3

        @dataclasses.dataclass
        class Point:
            x: int
            def scaled(self):
                return Point(self.x * FACTOR)

        class Colour(enum.Enum):
            RED = 1

        class Failure(Exception):
            def __init__(self, text, number):
                super().__init__(text)
                self.number = number

        def helper(x):
            return x + FACTOR

        @skate.remote
        def uses_all(point, colour):
            assert colour is Colour.RED
            assert isinstance(point, Point)
            return helper(point.scaled().x), point, colour

        @skate.remote
        def fails():
            raise Failure("no", 7)

        @skate.remote
        def recursive(n):
            return 1 if n == 0 else n * skate.get(recursive.remote(n - 1))

        def decorated(f):
            @functools.wraps(f)
            def wrapper(*args):
                return f(*args) + 1
            return wrapper

        @skate.remote
        @decorated
        def plus(x):
            return x

        @skate.remote
        class Base:
            def __init__(self):
                self.points = []
            def add(self, point):
                self.points.append(point)
                return self.points

        if __name__ == "__main__":
            skate.init(num_cpus=2)
            number, point, colour = skate.get(uses_all.remote(Point(2), Colour.RED))
            assert (number, point, colour) == (9, Point(2), Colour.RED) and type(point) is Point
            try:
                skate.get(fails.remote())
            except Failure as error:
                assert error.number == 7
            assert skate.get(recursive.remote(5)) == 120
            assert skate.get(plus.remote(1)) == 2
            base = Base.remote()
            assert skate.get(base.add.remote(Point(1))) == [Point(1)]
            FACTOR = 10  # Too late for what was sent already, in time for a new function.
            print(skate.get(skate.remote(lambda: FACTOR).remote()))
        """,
        tmp_path,
    )
    assert program.stdout == "10\n", program.stderr


CELLS = [
    "import skate; context = skate.init(num_cpus=2)",
    "@skate.remote\ndef f(x):\n    return x + 1\n",
    "print(skate.get(f.remote(1)))",
    "@skate.remote\ndef f(x):\n    return x + 100\n",
    "print(skate.get(f.remote(1)))",
    "def helper():\n    return 'one'\n",
    "@skate.remote\ndef uses():\n    return helper()\n",
    "print(skate.get(uses.remote()))",
    "def helper():\n    return 'two'\n\nuses = skate.remote(lambda: helper())\n",
    "print(skate.get(uses.remote()))",
    "@skate.remote\nclass Counter:\n    def add(self):\n        return 'first'\n",
    "counter = Counter.remote()\nprint(skate.get(counter.add.remote()))",
    "@skate.remote\nclass Counter:\n    def add(self):\n        return 'second'\n",
    "print(skate.get(Counter.remote().add.remote()), skate.get(counter.add.remote()))",
    "@skate.remote\ndef bad():\n    raise ValueError('in a cell')\n",
    "try:\n    skate.get(bad.remote())\nexcept ValueError as error:\n    print('in bad' in str(error.__cause__), 'raise ValueError' in str(error.__cause__))",
]
PRINTED = ["2", "101", "one", "two", "first", "second first", "True True"]


def test_the_interactive_session(tmp_path: Path) -> None:
    """Typed into `python -i`, as a person does: no file holds the source."""
    session = subprocess.run(
        [sys.executable, "-i", "-q"],
        input="\n".join(cell + "\n" for cell in CELLS[:-2]),
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(REPOSITORY / "src"),
            "XDG_RUNTIME_DIR": str(tmp_path),
            "HOME": str(tmp_path),
        },
    )
    assert session.stdout.split("\n")[:-1] == PRINTED[:-1], session.stderr


def test_cells_of_a_notebook(tmp_path: Path) -> None:
    """As IPython runs them: each cell compiled under a name of its own, in `__main__`, with an event loop running."""
    program = run_program(
        f"""
        import asyncio, linecache

        async def run_cells(cells):
            for number, cell in enumerate(cells):
                name = f"/tmp/ipykernel_1/{{number}}.py"
                linecache.cache[name] = (len(cell), None, cell.splitlines(True), name)
                exec(compile(cell, name, "exec"), globals())

        asyncio.run(run_cells({CELLS!r}))
        """,
        tmp_path,
    )
    assert program.stdout.split("\n")[:-1] == PRINTED, program.stderr


def test_edited_modules(tmp_path: Path) -> None:
    """A worker that has imported a module before it was edited and reloaded runs the new text."""
    (tmp_path / "edited.py").write_text(
        "import skate\nVALUE = 1\n@skate.remote\ndef f():\n    return VALUE, g()\ndef g():\n    return 'old'\n"
    )
    program = run_program(
        """
        import importlib, pathlib, sys
        sys.dont_write_bytecode = True
        import skate, edited
        skate.init(num_cpus=1)
        print(*skate.get(edited.f.remote()))
        path = pathlib.Path(edited.__file__)
        path.write_text(path.read_text().replace("VALUE = 1", "VALUE = 2").replace("old", "new, and longer"))
        importlib.reload(edited)
        print(*skate.get(edited.f.remote()))
        path.write_text(path.read_text().replace("VALUE = 2", "VALUE = 33").replace("new", "newest"))
        importlib.reload(edited)
        print(*skate.get([skate.remote(edited.g).remote(), edited.f.remote()]))
        """,
        tmp_path,
    )
    assert program.stdout == "1 old\n2 new, and longer\nnewest, and longer (33, 'newest, and longer')\n", program.stderr
