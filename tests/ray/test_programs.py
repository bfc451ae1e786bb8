"""Programs on a Ray cluster, as a user would write and run them."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.conformance.not_on_ray import DIFFERENCES
from tests.integration.programs import run_program

REPOSITORY = Path(__file__).resolve().parents[2]


def run(text: str, tmp_path: Path, address: str) -> str:
    done = run_program(text.replace("<address>", repr(address)), tmp_path)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_program_runs_unchanged(cluster: str, tmp_path: Path) -> None:
    out = run(
        """
        import skate
        skate.init(address=<address>)

        @skate.remote
        def square(x): return x * x

        @skate.remote
        class Total:
            def __init__(self): self.value = 0
            def add(self, x): self.value += x; return self.value

        total = Total.remote()
        print(skate.get([total.add.remote(square.remote(i)) for i in range(8)])[-1], skate.get_runtime_context().get_node_id() != "")
        """,
        tmp_path,
        cluster,
    )
    assert out == "140 True\n"


def test_short_calls_travel_together_and_each_has_its_own_value_and_error(cluster: str, tmp_path: Path) -> None:
    out = run(
        """
        import skate
        skate.init(address=<address>)

        @skate.remote
        def inverse(x): return 1 / x

        @skate.remote
        def add(x, y): return x + y

        refs = [inverse.remote(i) for i in range(-500, 500)]
        good = [ref for index, ref in enumerate(refs) if index != 500]
        assert skate.get(good) == [1 / i for i in range(-500, 500) if i]
        try:
            skate.get(refs[500])
        except ZeroDivisionError as error:
            print(type(error).__name__, isinstance(error, skate.exceptions.RayTaskError))
        print(skate.get(add.remote(refs[499], refs[501])), len(skate.wait(good, num_returns=7)[0]))
        import ray
        chunks = len({entry.chunk for entry in map(refs[0]._host.find, refs)})
        print(chunks < 100)
        """,
        tmp_path,
        cluster,
    )
    assert out == "RayTaskError(ZeroDivisionError) True\n0.0 7\nTrue\n"


def test_calls_of_a_chunk_whose_worker_dies_are_sent_again(cluster: str, tmp_path: Path) -> None:
    out = run(
        f"""
        import os, skate
        from pathlib import Path
        skate.init(address=<address>)
        mark = {str(tmp_path / "died")!r}

        @skate.remote
        def once(x, mark):
            if x == 60 and not os.path.exists(mark):
                Path(mark).touch()
                os._exit(1)
            return x

        skate.get([once.remote(i, mark) for i in range(20)])
        print(skate.get([once.remote(i, mark) for i in range(100)]) == list(range(100)), os.path.exists(mark))
        """,
        tmp_path,
        cluster,
    )
    assert out.endswith("True True\n")  # After what Ray itself prints.


def test_a_long_call_does_not_wait_for_others(cluster: str, tmp_path: Path) -> None:
    out = run(
        """
        import time, skate
        skate.init(address=<address>)

        @skate.remote
        def nap(s): time.sleep(s)

        skate.get([nap.remote(0.0) for _ in range(8)])
        started = time.monotonic()
        skate.get([nap.remote(1.0) for _ in range(4)])
        print(time.monotonic() - started < 3.0)
        """,
        tmp_path,
        cluster,
    )
    assert out == "True\n"


def test_a_bare_init_does_not_join_the_cluster(cluster: str, tmp_path: Path) -> None:
    assert run("import skate; skate.init(num_cpus=1); print(skate.cluster_resources()['CPU'])", tmp_path, cluster) == "1.0\n"


def test_the_environment_names_the_cluster(cluster: str, tmp_path: Path) -> None:
    text = "import os; os.environ['SKATE_ADDRESS'] = <address>; import skate; print(skate.init()['backend'])"
    assert run(text, tmp_path, cluster) == "ray\n"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:9", "no Ray cluster answers at 127.0.0.1:9"),
        ("ray://127.0.0.1:9", "Skate does not speak Ray Client's protocol"),
        ("no.such.host.invalid:6379", "no Ray cluster answers at no.such.host.invalid:6379"),
    ],
)
def test_a_bad_address_is_one_sentence_soon(address: str, words: str, tmp_path: Path) -> None:
    started = time.monotonic()
    done = run_program(f"import skate; skate.init(address={address!r})", tmp_path)
    assert time.monotonic() - started < 15
    assert f"ConnectionError: address={address!r}: {words}" in done.stderr


@pytest.mark.parametrize(
    ("answer", "words"), [(b"", "says nothing"), (b"HTTP/1.1 400 Bad Request\r\n\r\n", "is not a Ray cluster's head")]
)
def test_something_else_that_listens_is_no_cluster(answer: bytes, words: str, tmp_path: Path) -> None:
    """Also a head that hangs: it takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            taken, _ = server.accept()
            with taken:
                if answer:
                    taken.sendall(answer)
                taken.settimeout(20)
                with contextlib.suppress(ConnectionResetError):
                    while taken.recv(100):
                        pass

        threading.Thread(target=serve, daemon=True).start()
        started = time.monotonic()
        done = run_program(f"import skate; skate.init(address='127.0.0.1:{server.getsockname()[1]}')", tmp_path)
        assert time.monotonic() - started < 15
    assert words in done.stderr.splitlines()[-1], done.stderr


def test_another_version_of_ray_is_one_sentence(cluster: str, tmp_path: Path) -> None:
    done = run_program(f"import ray; ray.__version__ = '2.61.0'; import skate; skate.init(address={cluster!r})", tmp_path)
    assert "the versions differ; here Ray 2.61.0 and Python" in done.stderr.splitlines()[-1], done.stderr


def test_a_module_that_the_cluster_lacks_is_named(cluster: str, tmp_path: Path) -> None:
    text = """
        import sys, time, types, skate
        skate.init(address=<address>)
        nowhere = types.ModuleType("nowhere")
        exec("def f(x): return x", vars(nowhere))
        sys.modules["nowhere"] = nowhere
        @skate.remote
        def warm(): return 1
        skate.get(warm.remote())
        started = time.monotonic()
        f = skate.remote(nowhere.f)
        try:
            skate.get([f.remote(i) for i in range(20)])
        except Exception as error:
            print("> ", "nowhere" in str(error), time.monotonic() - started < 15)
        """
    assert run(text, tmp_path, cluster).splitlines()[-1] == ">  True True"


def test_a_wrong_token_is_named(cluster: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0" * 64)
    text = f"import os; os.environ['RAY_AUTH_TOKEN_PATH'] = {str(tmp_path / 'token')!r}; import skate; skate.init(address={cluster!r})"
    done = run_program(text, tmp_path)
    assert "AuthenticationError" in done.stderr.splitlines()[-1], done.stderr
    assert "token" in done.stderr


def test_without_ray_the_error_says_what_to_install(tmp_path: Path) -> None:
    done = run_program("import sys; sys.modules['ray'] = None; import skate; skate.init(address='ray')", tmp_path)
    assert "pip install 'skate[ray]'" in done.stderr


def test_the_page_lists_what_is_otherwise() -> None:
    page = (REPOSITORY / "docs" / "how-to" / "run-on-ray.md").read_text(encoding="utf-8")
    for reason in DIFFERENCES.values():
        assert reason in page


def test_log_records_as_configured(cluster: str, tmp_path: Path) -> None:
    text = """
        import logging, skate
        skate.init(address=<address>, logging_config=skate.LoggingConfig(encoding="JSON", log_level="INFO"))

        @skate.remote
        def work():  # Ray brings a worker's output to the driver some time later: here it is told at once.
            record = logging.makeLogRecord({"msg": "from a task", "levelname": "INFO"})
            handler, = logging.getLogger().handlers
            handler.filter(record)
            return handler.format(record)

        logging.getLogger("app").info("from the driver")
        print(skate.get(work.remote()))
        skate.shutdown()
        """
    done = run_program(text.replace("<address>", repr(cluster)), tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [line[line.index("{") :] for line in (*done.stderr.splitlines(), *done.stdout.splitlines()) if '"message"' in line]
    records = {record["message"]: record for record in map(json.loads, lines)}
    assert records["from the driver"]["job_id"]
    assert records["from a task"]["task_id"]
