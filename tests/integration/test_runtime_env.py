"""What a task finds around it: variables, directories, modules, packages. The packages are made here: nothing is downloaded."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import skate
from tests.integration.programs import run_program


@pytest.fixture(scope="module", autouse=True)
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("SKATE_TEST_OUTER", "driver's")
        skate.init(num_cpus=2, runtime_env={"env_vars": {"SKATE_TEST_JOB": "job", "SKATE_TEST_BOTH": "job"}})
        yield
        skate.shutdown()


@skate.remote
def variables(*names: str) -> list[str | None]:
    return [os.environ.get(name) for name in names]


@skate.remote
class Env:
    def variables(self, *names: str) -> list[str | None]:
        return [os.environ.get(name) for name in names]

    def child(self, *names: str) -> Any:
        return skate.get(variables.remote(*names))


NAMES = ("SKATE_TEST_OUTER", "SKATE_TEST_JOB", "SKATE_TEST_BOTH", "SKATE_TEST_TASK")
OF_TASK = {"env_vars": {"SKATE_TEST_TASK": "task", "SKATE_TEST_BOTH": "task"}}


def test_the_tasks_variables_are_laid_over_the_jobs() -> None:
    special = variables.options(runtime_env=OF_TASK)
    for _ in range(3):  # In turn, so that workers of one kind could be given to the other.
        plain, changed = skate.get([variables.remote(*NAMES), special.remote(*NAMES)], timeout=20)
        assert plain == ["driver's", "job", "job", None]
        assert changed == ["driver's", "job", "task", "task"]


def test_actors_have_them_and_their_children_inherit_them() -> None:
    actor: Any = Env.options(runtime_env=OF_TASK).remote()
    assert skate.get(actor.variables.remote(*NAMES), timeout=20) == ["driver's", "job", "task", "task"]
    assert skate.get(actor.child.remote(*NAMES), timeout=20) == ["driver's", "job", "task", "task"]
    assert skate.get(variables.remote("SKATE_TEST_TASK"), timeout=20) == [None]


def test_the_environment_can_be_asked_for() -> None:
    @skate.remote(runtime_env=OF_TASK)
    def mine() -> Any:
        return skate.get_runtime_context().runtime_env["env_vars"]

    assert skate.get(mine.remote(), timeout=20)["SKATE_TEST_TASK"] == "task"


def test_a_working_directory_is_where_the_task_runs_and_imports_from(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("hello")
    (tmp_path / "skate_test_near.py").write_text("WORD = 'near'\n")

    @skate.remote(runtime_env={"working_dir": str(tmp_path)})
    def look() -> tuple[str, str]:
        import skate_test_near  # type: ignore[import-not-found]

        return Path("words.txt").read_text(), skate_test_near.WORD

    assert skate.get(look.remote(), timeout=20) == ("hello", "near")

    @skate.remote
    def without() -> str:
        try:
            import skate_test_near  # noqa: F401
        except ImportError:
            return os.getcwd()
        return "it leaked"

    assert skate.get(without.remote(), timeout=20) == os.getcwd()


def test_py_modules_can_be_imported(tmp_path: Path) -> None:
    package = tmp_path / "skate_test_module"
    package.mkdir()
    (package / "__init__.py").write_text("from skate_test_module.part import ANSWER\n")
    (package / "part.py").write_text("ANSWER = 42\n")

    @skate.remote
    class User:
        def answer(self) -> int:
            import skate_test_module  # type: ignore[import-not-found]

            return int(skate_test_module.ANSWER)

    user: Any = User.options(runtime_env={"py_modules": [str(package)]}).remote()
    assert skate.get(user.answer.remote(), timeout=20) == 42


def test_pip_packages_are_in_an_environment_of_their_own(tmp_path: Path) -> None:
    wheel = tmp_path / "skate_test_wheel-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("skate_test_wheel.py", "ANSWER = 42\n")
        file.writestr("skate_test_wheel-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: skate-test-wheel\nVersion: 1\n")
        file.writestr("skate_test_wheel-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr("skate_test_wheel-1.dist-info/RECORD", "")

    @skate.remote(runtime_env={"pip": {"packages": [str(wheel)], "pip_install_options": ["--no-index"]}})
    def answer() -> tuple[int, str]:
        import skate_test_wheel  # type: ignore[import-not-found]

        return skate_test_wheel.ANSWER, skate_test_wheel.__file__

    found, where = skate.get(answer.remote(), timeout=60)
    assert found == 42
    assert where.startswith(os.environ["XDG_CACHE_HOME"])
    assert skate.get(answer.remote(), timeout=20) == (found, where)


def test_an_environment_that_cannot_be_made_fails_the_task_and_says_why(tmp_path: Path) -> None:
    @skate.remote(runtime_env={"pip": {"packages": ["skate-test-no-such-package"], "pip_install_options": ["--no-index"]}})
    def never() -> None: ...

    with pytest.raises(skate.exceptions.RuntimeEnvSetupError, match="skate-test-no-such-package"):
        skate.get(never.remote(), timeout=60)
    with pytest.raises((ValueError, skate.exceptions.RuntimeEnvSetupError), match="nowhere"):
        skate.get(variables.options(runtime_env={"working_dir": str(tmp_path / "nowhere")}).remote("A"), timeout=20)


def test_a_whole_program_in_a_working_directory(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    (there / "skate_test_there.py").write_text("def where():\n    import os\n    return os.getcwd()\n")
    program = run_program(
        f"""
        import skate
        skate.init(num_cpus=1, runtime_env={{"working_dir": {str(there)!r}, "env_vars": {{"A": "1"}}}})

        @skate.remote
        def look():
            import os, skate_test_there
            return skate_test_there.where(), os.environ["A"]

        print(*skate.get(look.remote()))
        """,
        tmp_path,
    )
    assert program.stdout == f"{there} 1\n", program.stderr
