"""The public API on a real Ray cluster of one node, started for this module; and what a user reads who can't join one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import skate

pytest.importorskip("ray")
pytestmark = [pytest.mark.needs_ray, pytest.mark.slow]

PROGRAM = """
import skate

skate.init(address=ADDRESS)


@skate.remote
def square(x):
    return x * x


@skate.remote
def total(refs):
    return sum(skate.get(refs))


@skate.remote
def fail():
    raise ValueError("no")


@skate.remote
def count(n):
    yield from range(n)


@skate.remote
class Counter:
    def __init__(self, n):
        self.n = n

    def add(self, k):
        self.n += k
        return self.n

    def me(self):
        return skate.get_runtime_context().current_actor


@skate.remote
class Async:
    async def more(self, x):
        return x + 1


@skate.remote
def use(counter):
    return skate.get(counter.add.remote(100))


refs = [square.remote(i) for i in range(5)]
assert all(isinstance(ref, skate.ObjectRef) for ref in refs)
assert skate.get(refs) == [0, 1, 4, 9, 16]
assert skate.get(total.remote(refs)) == 30  # Refs inside an argument.
assert skate.get(square.remote(refs[3])) == 81  # A ref as an argument.
assert skate.get((lambda held: skate.remote(lambda: skate.get(held)))(refs[4]).remote()) == 16  # In a closure.
for bad in (fail.remote(), square.remote(fail.remote())):
    try:
        skate.get(bad)
    except ValueError as error:
        assert isinstance(error, skate.exceptions.RayTaskError) and "in fail" in str(error), str(error)
        assert "ray_cluster" not in str(error), str(error)  # Only the user's frames.
    else:
        raise AssertionError("no error")
assert [skate.get(ref) for ref in count.remote(3)] == [0, 1, 2]
counter = Counter.remote(1)
assert skate.get([counter.add.remote(i) for i in range(4)]) == [1, 2, 4, 7]
assert skate.get(use.remote(counter)) == 107
assert skate.get(counter.me.remote()) == counter
assert skate.get(Async.remote().more.remote(1)) == 2
named = Counter.options(name="named").remote(5)
assert skate.get(skate.get_actor("named").add.remote(1)) == 6
assert skate.get(skate.put([1, 2])) == [1, 2]
ready, rest = skate.wait(refs, num_returns=2)
assert len(ready) == 2 and len(rest) == 3
group = skate.util.placement_group([{"CPU": 1}])
assert group.wait(10)
skate.util.remove_placement_group(group)
skate.kill(counter)
try:
    skate.get(counter.add.remote(1))
except skate.exceptions.ActorDiedError:
    pass
else:
    raise AssertionError("a killed actor answered")
skate.shutdown()
print("all well")
"""


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a Ray head of this module's own, in the foreground: it ends with its process."""
    port = _free_port()
    directory = tempfile.mkdtemp(prefix="rk")  # Short: sockets stand in it.
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", f"--port={port}", "--num-cpus=2", "--include-dashboard=false",
        f"--temp-dir={directory}", "--object-store-memory=100000000", f"--ray-client-server-port={_free_port()}", "--disable-usage-stats", "--block",
    ]  # fmt: skip
    head = subprocess.Popen(command, env=_environ(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        deadline_s = time.monotonic() + 40
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline_s and head.poll() is None, "the Ray head did not start"
                time.sleep(0.1)
        yield f"ray:127.0.0.1:{port}"
    finally:
        head.terminate()
        try:
            head.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(head.pid, 9)
            head.wait()
        shutil.rmtree(directory, ignore_errors=True)


def _environ() -> dict[str, str]:
    # The test's own cluster, without a token; PATH for what Ray starts by name.
    return {**os.environ, "RAY_AUTH_MODE": "disabled", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


@pytest.mark.timeout(180)
@pytest.mark.leaks_ok("the cluster is the module's, and Ray's processes take some seconds to go")
def test_a_program_runs_on_a_ray_cluster(cluster: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM).replace("ADDRESS", repr(cluster)))

    done = subprocess.run([sys.executable, str(program)], env=_environ(), capture_output=True, text=True, timeout=120)

    assert "all well" in done.stdout, done.stderr[-3000:]


@pytest.mark.parametrize(
    ("address", "text"), [("ray:127.0.0.1:1", "no Ray cluster answers"), ("ray:nonsense", "not an address of a Ray cluster")]
)
def test_a_wrong_address_is_one_clear_error_at_once(address: str, text: str) -> None:
    started_s = time.monotonic()
    with pytest.raises(ConnectionError, match=text):
        skate.init(address=address)
    assert time.monotonic() - started_s < 15
