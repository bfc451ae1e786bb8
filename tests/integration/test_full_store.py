"""A store that is full, a disk that is full, values larger than memory would like."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import skate
from skate.backends import current
from skate.engine.spec import messages as m
from skate.exceptions import ObjectStoreFullError
from skate.state import list_objects
from tests.integration.programs import REPOSITORY, assert_nothing_left, run_program, wait_until

MB = 1_000_000


@pytest.fixture
def small_store() -> Iterator[None]:
    skate.init(num_cpus=2, object_store_memory=80 * MB)
    yield
    skate.shutdown()


def test_more_than_the_store_holds_spills_and_comes_back(small_store: None) -> None:
    refs = [skate.put(np.full(20 * MB // 8, i, dtype=np.float64)) for i in range(10)]
    for i, ref in enumerate(refs):
        array = skate.get(ref, timeout=30)
        assert array[0] == array[-1] == i
        del array


def test_tasks_read_spilled_arguments_and_spill_results(small_store: None) -> None:
    @skate.remote
    def make(i: int) -> np.ndarray:
        return np.full(20 * MB // 8, i, dtype=np.float64)

    @skate.remote
    def first(array: np.ndarray) -> float:
        return float(array[0])

    made = [make.remote(i) for i in range(10)]
    assert skate.get([first.remote(ref) for ref in made], timeout=60) == list(range(10))


def test_room_is_given_back_when_refs_go(small_store: None) -> None:
    for _ in range(20):
        ref = skate.put(np.ones(30 * MB // 8))
        del ref
        gc.collect()
    wait_until(lambda: not [row for row in list_objects() if row["object_size"] > MB], 5)


def test_what_can_never_fit_is_refused_with_the_numbers(small_store: None) -> None:
    with pytest.raises(ObjectStoreFullError, match="object_store_memory"):
        skate.put(np.ones(100 * MB // 8))
    assert skate.get(skate.put(np.ones(10 * MB // 8)), timeout=20).sum() == 10 * MB // 8


def test_a_store_full_of_arrays_in_use_says_who_holds_them(small_store: None) -> None:
    arrays = [skate.get(skate.put(np.ones(20 * MB // 8)), timeout=20) for _ in range(3)]
    with pytest.raises(ObjectStoreFullError, match=r"pinned|in use"):
        skate.put(np.ones(40 * MB // 8))
    del arrays
    gc.collect()
    assert skate.get(skate.put(np.ones(40 * MB // 8)), timeout=20).size == 40 * MB // 8


def test_a_full_disk_fails_the_put_and_loses_nothing(tmp_path: Path) -> None:
    done = run_program(
        """
        import numpy as np, skate
        from skate.exceptions import ObjectStoreFullError, OutOfDiskError

        skate.init(num_cpus=1, object_store_memory=80_000_000, _spill_bytes_max=30_000_000)
        refs = []
        try:
            for i in range(20):
                refs.append(skate.put(np.full(2_500_000, i, dtype=np.float64)))
        except (OutOfDiskError, ObjectStoreFullError) as error:
            print(type(error).__name__, flush=True)
        assert 3 <= len(refs) < 20, len(refs)
        for i, ref in enumerate(refs):
            array = skate.get(ref, timeout=30)
            assert array[0] == i
            del array
        print("all there", len(refs))
        """,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "OutOfDiskError" in done.stdout
    assert "all there" in done.stdout


def run_among_own_mounts(mounting: str, source: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run a program that sees file systems of its own. Needs the right to mount."""
    (directory / "program.py").write_text(textwrap.dedent(source))
    (directory / "run").mkdir(mode=0o700)
    shell = ["unshare", "--mount", "sh", "-ec"]
    if shutil.which("unshare") is None or subprocess.run([*shell, "mount -t tmpfs none /mnt"], capture_output=True).returncode:
        pytest.skip("this process may not mount file systems")
    return subprocess.run(
        [*shell, f"{mounting}; exec {sys.executable} program.py"],
        cwd=directory,
        env={**os.environ, "XDG_RUNTIME_DIR": str(directory / "run"), "PYTHONPATH": str(REPOSITORY / "src")},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_disk_that_is_really_full_fails_the_put_and_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    done = run_among_own_mounts(
        "mount -t tmpfs -o size=40m none disk",
        """
        import os
        import numpy as np, skate
        from skate.exceptions import OutOfDiskError

        skate.init(num_cpus=1, object_store_memory=80_000_000, _spill_dir=os.path.abspath("disk"))
        refs = []
        try:
            for i in range(20):
                refs.append(skate.put(np.full(2_500_000, i, dtype=np.float64)))
        except OutOfDiskError as error:
            print(error, flush=True)
        assert 3 <= len(refs) < 20, len(refs)
        for i, ref in enumerate(refs):
            array = skate.get(ref, timeout=30)
            assert array[0] == array[-1] == i
            del array
        del refs[::2], ref
        refs.append(skate.put(np.ones(2_500_000)))  # There is room again.
        assert skate.get(refs[-1], timeout=30).sum() == 2_500_000
        print("all there", len(os.listdir("disk")))
        """,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "no space left on the spill directory" in done.stdout
    assert "all there 0" in done.stdout, "and the file has no name"
    assert_nothing_left(tmp_path)


def test_a_container_without_shared_memory_is_no_different(tmp_path: Path) -> None:
    done = run_among_own_mounts(
        "mount -t tmpfs -o ro,size=4k none /dev/shm",
        """
        import os
        import numpy as np, skate

        try:
            open("/dev/shm/x", "w")
        except OSError:
            print("no shared memory")
        skate.init(num_cpus=2)
        array = np.arange(5_000_000)
        print(skate.get(skate.remote(lambda a: int(a.sum())).remote(skate.put(array)), timeout=30) == int(array.sum()))
        """,
        tmp_path,
    )
    assert (done.stdout, done.stderr) == ("no shared memory\nTrue\n", "")
    assert_nothing_left(tmp_path)


@pytest.fixture
def engine() -> Iterator[None]:
    skate.init(num_cpus=2)
    yield
    skate.shutdown()


def test_four_gigabytes_travel_as_argument_and_result(engine: None) -> None:
    size = 4 * 1024**3 + 4096

    @skate.remote
    def ends(array: np.ndarray) -> tuple[int, int, int]:
        return int(array[0]), int(array[-1]), array.nbytes

    @skate.remote
    def make(n: int) -> np.ndarray:
        array = np.zeros(n, dtype=np.uint8)
        array[0], array[-1] = 1, 2
        return array

    ref = make.remote(size)
    assert skate.get(ends.remote(ref), timeout=60) == (1, 2, size)
    result = skate.get(ref, timeout=60)
    assert result.nbytes == size
    assert not result.flags.writeable


def test_arrays_are_read_only_views_of_one_copy(engine: None) -> None:
    ref = skate.put(np.arange(MB))
    first, second = skate.get(ref, timeout=20), skate.get(ref, timeout=20)
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 1
    assert (first == second).all()

    @skate.remote
    class Reader:
        def read(self, refs: list) -> bool:
            array = skate.get(refs[0])
            return bool(array.flags.writeable) or int(array.sum()) != MB * (MB - 1) // 2

    assert skate.get([Reader.remote().read.remote([ref]) for _ in range(3)], timeout=20) == [False] * 3


def test_a_view_outlives_its_ref(engine: None) -> None:
    array = skate.get(skate.put(np.arange(MB)), timeout=20)
    gc.collect()
    for _ in range(5):
        skate.put(np.zeros(MB))
    assert int(array.sum()) == MB * (MB - 1) // 2


def lose(refs: list) -> None:
    """The values are gone, as when a disk has lost them; the owner does not know."""
    client = current.active().client
    with client.lock:
        client.tell_node(m.Free([ref.binary() for ref in refs]))


def test_a_lost_value_is_made_again(engine: None) -> None:
    @skate.remote
    def make(seed: int) -> np.ndarray:
        return np.full(MB, seed)

    ref = make.remote(5)
    skate.wait([ref], timeout=20)
    lose([ref])
    assert skate.get(ref, timeout=20)[0] == 5
