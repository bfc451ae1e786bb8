"""Records that raise, state that can't be kept, programs that do not fit their snapshot: each said, none lost."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from skate.streaming import (
    Mean,
    RecordError,
    Session,
    SnapshotCorruptError,
    SnapshotMismatchError,
    Stream,
    StreamError,
    TextSink,
    Tumbling,
    mapreduce,
    storage,
)  # fmt: skip
from skate.streaming.graph import check_fit, fingerprint_of, make_plan

RECORDS = ["1", "2", "three", "4"]


def run(sunk: Any, *arguments: Any, **options: Any) -> Any:
    return sunk.run(*arguments, in_process=True, **options)


# ---------------------------------------------------------------- records that raise


def test_fail_shows_the_operator_the_record_and_its_position() -> None:
    with pytest.raises(RecordError) as caught:
        run(Stream.from_list(RECORDS, splits=1).map(int).to_list())
    assert caught.value.operator == "map(int)"
    assert caught.value.record == "'three'"
    assert caught.value.position == "the list in memory, from record 0, record 2 of the batch"
    assert 'on_error="skip"' in str(caught.value)


def test_skip_leaves_out_and_counts() -> None:
    running = Stream.from_list(RECORDS).on_error("skip").map(int).to_list().start(in_process=True)
    assert running.wait() == [1, 2, 4]
    assert sum(stage["skipped"] for stage in running.progress()["stages"]) == 1


def test_dead_letters_keep_what_was_left_out(tmp_path: Path) -> None:
    assert run(Stream.from_list(RECORDS).on_error(TextSink(tmp_path)).map(int).to_list()) == [1, 2, 4]
    (letter,) = map(json.loads, (tmp_path / "part-00000").read_text().splitlines())
    assert letter["record"] == "'three'"
    assert letter["operator"] == "map(int)"


def failing(record: Any) -> Any:
    if record == 3:
        raise ValueError("three")
    return record


def failing_half_way(record: int) -> Any:
    yield record
    yield failing(record)


@pytest.mark.parametrize(
    "build",
    [
        lambda stream: stream.map(failing),
        lambda stream: stream.filter(lambda record: failing(record) is not None),
        lambda stream: stream.flat_map(lambda record: [failing(record)]),
        lambda stream: stream.map_batches(lambda records: [failing(record) for record in records]),
        lambda stream: stream.event_time(failing),
        lambda stream: stream.key_by(failing).reduce(max).map(lambda pair: pair[1]),
        lambda stream: stream.key_by().sum(failing).map(lambda pair: pair[1]),
        lambda stream: (
            stream.event_time(lambda record: 1.0)
            .key_by(lambda record: record)
            .window(Tumbling(10))
            .sum(failing)
            .map(lambda w: w.value)
        ),
        lambda stream: (
            stream.event_time(lambda record: 1.0)
            .key_by(lambda record: record)
            .window(Session(10))
            .sum(failing)
            .map(lambda w: w.value)
        ),
    ],
)
def test_each_operator_leaves_out_the_one_that_raised(build: Any) -> None:
    stream = build(Stream.from_list(range(1, 6), splits=2).on_error("skip"))
    assert sorted(run(stream.to_list(), parallelism=2)) == [1, 2, 4, 5]
    with pytest.raises((RecordError, ValueError), match="three"):
        run(build(Stream.from_list(range(1, 6))).to_list())


def test_a_generator_that_raises_half_way_gives_nothing_of_that_record() -> None:
    stream = Stream.from_list([2, 3, 4], splits=1).on_error("skip").flat_map(failing_half_way)
    assert run(stream.to_list()) == [2, 2, 4, 4]


def test_splitting_all_lines_at_once_is_splitting_each() -> None:
    lines = ["a  b", "", " c\t", "d\x0be"]
    assert run(Stream.from_list(lines, splits=1).flat_map(str.split).to_list()) == [
        word for line in lines for word in line.split()
    ]
    with pytest.raises(RecordError, match="TypeError"):
        run(Stream.from_list(["a", 3], splits=1).flat_map(str.split).to_list())  # type: ignore[arg-type]


def test_a_policy_that_is_none_is_named() -> None:
    with pytest.raises(ValueError, match='on_error=\'ignore\': "fail", "skip", or a sink'):
        Stream.from_list(RECORDS).on_error("ignore")


def test_a_key_without_a_stable_hash_is_named() -> None:
    class Key:
        pass

    with pytest.raises((StreamError, TypeError), match=r"a key of type .*Key has no hash that is the same in every process"):
        run(Stream.from_list([1]).key_by(lambda record: Key()).count().to_list(), parallelism=2)


# ---------------------------------------------------------------- state that can't be kept


def test_state_that_cannot_be_pickled_stops_the_stream_and_names_the_operator(tmp_path: Path) -> None:
    stream = Stream.from_list(range(100_000)).key_by(lambda n: n % 2).aggregate(threading.Lock, lambda lock, record: lock)
    with pytest.raises(StreamError, match=r"the state of reduce\(aggregate .*\) can't be pickled \(TypeError.*keep plain values"):
        run(stream.to_list(), tmp_path, interval_s=1e-6)


def test_a_full_disk_costs_a_snapshot_and_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = []

    def full_at_first(operation: str, path: Path, data: bytes) -> None:
        if "snapshot-" in str(path) and len(refused) < 2:
            refused.append(path)
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(storage, "before_operation", full_at_first)
    running = (
        Stream.from_list(range(50_000)).to_text(tmp_path / "out").start(tmp_path / "snapshots", in_process=True, interval_s=1e-6)
    )
    running.wait()
    assert len(refused) == 2
    assert running.progress()["snapshot_failures"] >= 1
    assert "No space left" in running.progress()["last_failure"]
    lines = "".join(path.read_text() for path in sorted((tmp_path / "out").glob("part-*"))).split()
    assert sorted(map(int, lines)) == list(range(50_000))


def test_a_disk_that_stays_full_stops_the_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(operation: str, path: Path, data: bytes) -> None:
        if "snapshot-" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(storage, "before_operation", full)
    with pytest.raises(StreamError, match=r"snapshots in a row failed.*No space left on device"):
        run(Stream.from_list(range(50_000)).to_list(), tmp_path, interval_s=1e-6)


# ---------------------------------------------------------------- does the snapshot fit?


def counting(records: Any, key: Any = None, size_s: float = 10.0) -> Any:
    key = key or (lambda record: record % 3)
    return (
        Stream.from_list(records, splits=2)
        .event_time(lambda record: record)
        .key_by(key)
        .window(Tumbling(size_s))
        .count()
        .to_list()
    )


def interrupted(sunk: Any, directory: Path) -> None:
    """A run that stopped at its first snapshots."""
    running = sunk.start(directory, in_process=True, interval_s=1e-6)
    running.wait_for_snapshot(1, timeout_s=20)
    running.stop()


@pytest.fixture
def snapshots(tmp_path: Path) -> Path:
    interrupted(counting(range(200_000)), tmp_path / "snapshots")
    return tmp_path / "snapshots"


def test_other_code_of_a_key_is_refused_unless_accepted(snapshots: Path) -> None:
    with pytest.raises(SnapshotMismatchError, match=r"the code of key_by \(key\) is not the code that made the state"):
        run(counting(range(200_000), key=lambda record: record % 4), snapshots)
    run(counting(range(200_000), key=lambda record: record % 4), snapshots, accept_changed_code=True)


def test_other_settings_are_refused_with_the_difference(snapshots: Path) -> None:
    with pytest.raises(SnapshotMismatchError, match=r"settings of window do not fit the snapshot: size_s: then 10.0, now 20.0"):
        run(counting(range(200_000), size_s=20.0), snapshots)
    with pytest.raises(
        SnapshotMismatchError, match="settings of source memory do not fit the snapshot: records: then 200000, now 5"
    ):
        run(counting(range(5)), snapshots)


def test_another_program_is_refused_with_both_shown(snapshots: Path) -> None:
    with pytest.raises(
        SnapshotMismatchError,
        match="then: source memory → event_time → key_by → window → list\n  now:  source memory → map → list",
    ):
        run(Stream.from_list(range(200_000)).map(str).to_list(), snapshots)


def test_code_that_keeps_no_state_may_change() -> None:
    plans = [make_plan(Stream.from_list([1]).map(f).key_by().count().to_list()._sinks, 1) for f in (lambda n: n, lambda n: n + 1)]
    check_fit(fingerprint_of(plans[0]), fingerprint_of(plans[1]))


def test_a_torn_snapshot_is_passed_over_and_none_whole_is_an_error(snapshots: Path) -> None:
    whole = run(counting(range(200_000)), None)
    manifests = sorted(snapshots.glob("snapshot-*/manifest.json"))
    newest = manifests[-1].parent
    part = max(newest.glob("part-*"), key=lambda path: path.stat().st_size)
    part.write_bytes(part.read_bytes()[:-1])
    if len(manifests) == 1:
        with pytest.raises(SnapshotCorruptError):
            run(counting(range(200_000)), snapshots)
        return
    assert sorted(run(counting(range(200_000)), snapshots)) == sorted(whole)


def test_no_whole_snapshot_is_an_error_that_says_what_to_do(snapshots: Path) -> None:
    for manifest in snapshots.glob("snapshot-*/manifest.json"):
        manifest.write_text("{}")
    with pytest.raises(SnapshotCorruptError, match=r"(?s)none of the snapshots in .* is whole:\n.*\n  Restore the directory"):
        run(counting(range(200_000)), snapshots)


def test_a_snapshot_of_another_format_is_refused(snapshots: Path) -> None:
    for manifest in snapshots.glob("snapshot-*/manifest.json"):
        document = json.loads(manifest.read_text())
        document["body"]["format"] = 99
        document["checksum"] = storage.checksum(json.dumps(document["body"], sort_keys=True).encode())
        manifest.write_text(json.dumps(document))
    with pytest.raises(SnapshotCorruptError, match="its format is 99, this version of skate reads 2"):
        run(counting(range(200_000)), snapshots)


# ---------------------------------------------------------------- the rest of the API


def test_mapreduce_is_the_batch_form() -> None:
    texts = ["a b a", "b"]
    pairs = lambda text: [(word, 1) for word in text.split()]  # noqa: E731
    assert mapreduce(texts, pairs, reducer=lambda word, ones: sum(ones), in_process=True) == {"a": 2, "b": 2}
    assert mapreduce(texts, pairs, combiner=lambda a, b: a + b, in_process=True) == {"a": 2, "b": 2}
    assert mapreduce(texts, pairs, combiner=lambda a, b: a + b, reducer=lambda word, ones: (word, ones), in_process=True) == {
        "a": ("a", [2]),
        "b": ("b", [2]),
    }


def test_counts_while_it_runs() -> None:
    updates = run(Stream.from_list("abab", splits=1).count_by(emit="updates").to_list())
    assert dict(updates) == {"a": 2, "b": 2}


def test_top_k_of_all_and_of_each_key() -> None:
    numbers = Stream.from_list(range(100))
    assert run(numbers.top_k(3).to_list(), parallelism=2) == [[99, 98, 97]]
    assert sorted(run(numbers.key_by(lambda n: n % 2).top_k_per_key(2).to_list(), parallelism=2)) == [
        (0, [98, 96]),
        (1, [99, 97]),
    ]


def test_mean_and_the_words_of_blocks(tmp_path: Path) -> None:
    assert run(Stream.from_list([1, 2, 6]).key_by(lambda n: 0).aggregate(Mean()).to_list()) == [(0, 3.0)]
    (tmp_path / "a.txt").write_bytes(b"the cat\tthe \xff\n\n dog\n" * 1000)
    for parallelism in (1, 3):
        counts = run(
            Stream.from_text(tmp_path / "a.txt", blocks=True, split_bytes=777).count_words().to_list(), parallelism=parallelism
        )
        assert sorted(counts) == [("cat", 1000), ("dog", 1000), ("the", 2000), ("\ufffd", 1000)]


def test_several_sinks_share_what_they_have_in_common(tmp_path: Path) -> None:
    calls: list[int] = []
    numbers = Stream.from_list(range(10)).map(lambda n: calls.append(n) or n)  # type: ignore[func-returns-value]
    both = numbers.to_list().also(numbers.map(str).to_text(tmp_path))
    assert run(both) == list(range(10))
    assert len(calls) == 10
    assert len((tmp_path / "part-00000").read_text().split()) == 10


def test_union_and_map_batches() -> None:
    together = Stream.from_list([1, 2]).union(Stream.from_list([3])).map_batches(lambda numbers: [n * 10 for n in numbers])
    assert sorted(run(together.to_list(), parallelism=2)) == [10, 20, 30]


def test_frames_of_pandas() -> None:
    frame = run(Stream.from_list([{"n": 1}, {"n": 2}]).to_pandas())
    assert list(frame["n"]) == [1, 2]


def test_a_callback_sees_each_record() -> None:
    seen: list[int] = []
    run(Stream.from_list(range(5)).to_callback(Append(seen)))
    assert seen == [0, 1, 2, 3, 4]


class Append:
    """A list's append that stays the same one when a subtask copies its operator."""

    def __init__(self, seen: list[int]) -> None:
        self.seen = seen

    def __call__(self, record: int) -> None:
        self.seen.append(record)

    def __deepcopy__(self, memo: Any) -> Append:
        return self


def test_iterate_gives_each_record_and_raises_what_stopped_it() -> None:
    numbers = Stream.from_list(range(1, 6), splits=1)
    assert list(numbers.iterate(in_process=True)) == [1, 2, 3, 4, 5]
    with pytest.raises(RecordError, match="three"):
        list(numbers.map(failing).iterate(in_process=True))


def test_leaving_the_loop_stops_an_endless_stream() -> None:
    import itertools

    results = Stream.from_iterator(itertools.count, bounded=False).iterate(in_process=True, interval_s=0.01)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    results.close()  # type: ignore[attr-defined]


def test_options_are_checked() -> None:
    with pytest.raises(TypeError, match=r"there is no option paralellism; there are: snapshots, parallelism, "):
        Stream.from_list([1]).to_list().run(paralellism=2)
    for options in ({"interval_s": 0}, {"parallelism": 0}, {"keep": 0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            Stream.from_list([1]).to_list().run(**options)


def test_what_is_missing_is_named() -> None:
    stream = Stream.from_list([1])
    with pytest.raises(AttributeError, match=r"run: a stream needs a sink before it runs: \.to_list\(\)\.run\(\)"):
        stream.run()
    with pytest.raises(AttributeError, match=r"window needs a key: \.key_by"):
        stream.window(Tumbling(1))
    with pytest.raises(AttributeError, match=r"to_list: say first what of each window: \.count\(\)"):
        stream.key_by().window(Tumbling(1)).to_list()
    with pytest.raises(AttributeError, match="a Stream has no method 'frobnicate'"):
        stream.frobnicate()


def test_words_of_blocks_are_counted_without_pandas() -> None:
    # `pyarrow.array` imports pandas at its first call: 0.16 s in each worker.
    code = (
        "import sys\n"
        "from skate.streaming.operators.word_count import count_blocks\n"
        "print(sorted(count_blocks([b'a b\\n', 'b  c', b'', b'\\xff b']).rows()), 'pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[('a', 1), ('b', 3), ('c', 1), ('\ufffd', 1)] False"
