"""`LoggingConfig`: log records of driver, tasks and actors, with the ids of where they were written."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import skate

PROGRAM = """
import logging, sys
import skate

log = logging.getLogger("app")

@skate.remote(name="adding")
def add(x):
    logging.getLogger("app").info("adds %d", x, extra={"x": x})
    logging.getLogger("app").debug("not seen")
    return skate.get_runtime_context().get_task_id()

@skate.remote
class Counter:
    def count(self):
        try:
            1 / 0
        except ZeroDivisionError:
            logging.getLogger("app").exception("counts badly")
        return skate.get_runtime_context().get_actor_id()

skate.init(ADDRESS, num_cpus=1, logging_config=skate.LoggingConfig(encoding=ENCODING, log_level="INFO", additional_log_standard_attrs=["name"]))
log.info("begins")
print("task", skate.get(add.remote(7)))
print("actor", skate.get(Counter.options(name="teller").remote().count.remote()))
print("job", skate.get_runtime_context().get_job_id())
skate.shutdown()
"""


def run(address: str, encoding: str) -> tuple[dict[str, str], list[str]]:
    """What the program printed, and the lines of its stderr without the prefix that names a worker."""
    code = PROGRAM.replace("ADDRESS", repr(address)).replace("ENCODING", repr(encoding))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    printed = dict(line.split() for line in done.stdout.splitlines())
    return printed, [line.split(") ", 1)[-1] if line.startswith("(") else line for line in done.stderr.splitlines()]


@pytest.mark.parametrize("address", ["inline", "local"])
def test_json_records_of_driver_task_and_actor(address: str) -> None:
    printed, lines = run(address, "JSON")
    records = {record["message"]: record for record in map(json.loads, lines)}
    assert set(records) == {"begins", "adds 7", "counts badly"}
    assert all(record["job_id"] == printed["job"] and record["worker_id"] and record["node_id"] for record in records.values())
    assert all(record["name"] == "app" and record["timestamp_ns"] > 1e18 for record in records.values())
    added, counted = records["adds 7"], records["counts badly"]
    assert (added["task_id"], added["task_name"], added["task_func_name"], added["x"]) == (printed["task"], "adding", "add", 7)
    assert (counted["actor_id"], counted["actor_name"], counted["levelname"]) == (printed["actor"], "teller", "ERROR")
    assert "ZeroDivisionError" in counted["exc_text"]
    assert "task_id" not in records["begins"]


def test_text_records(capsys: pytest.CaptureFixture[str]) -> None:
    printed, lines = run("local", "TEXT")
    (added,) = [line for line in lines if "adds 7" in line]
    assert f"task_id={printed['task']}" in added
    assert "INFO <string>:" in added
    assert added.endswith("x=7")
    (counted,) = [line for line in lines if "counts badly" in line]
    assert f"actor_id={printed['actor']}" in counted
    assert any(line.startswith("ZeroDivisionError") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"encoding": "XML"}, "must be 'TEXT' or 'JSON'"),
        ({"log_level": "LOUD"}, "log_level='LOUD'"),
        ({"additional_log_standard_attrs": ["colour"]}, "no 'colour'"),
    ],
)
def test_a_wrong_config_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        skate.LoggingConfig(**arguments)  # type: ignore[arg-type]


def test_init_takes_nothing_else() -> None:
    with pytest.raises(TypeError, match=r"must be a skate\.LoggingConfig"):
        skate.init("inline", logging_config={"encoding": "JSON"})
    assert not skate.is_initialized()


def test_the_driver_may_keep_its_own_handlers() -> None:
    code = (
        "import logging, skate\n"
        "logging.basicConfig(format='mine %(message)s', level=20)\n"
        "skate.init('local', num_cpus=1, configure_logging=False, logging_config=skate.LoggingConfig())\n"
        "logging.info('hello')\n"
        "skate.get(skate.remote(lambda: logging.info('from a task')).remote())\n"
        "skate.shutdown()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "mine hello" in done.stderr.splitlines()
    assert any("from a task task" in line or "from a task job_id=" in line for line in done.stderr.splitlines())
