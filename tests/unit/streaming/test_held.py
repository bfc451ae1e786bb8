"""What a sender holds over barriers: in its snapshot, not on the way; and sent when it gets large, or at the end."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from skate.streaming import Stream, exchange
from skate.streaming.batch import Barrier, Batch, End, Partial
from skate.streaming.graph import Plan, make_plan
from skate.streaming.host import Host

WORDS = ["a", "b", "a", "c", "a", "b"]


def plan_of(sunk: Any, parallelism: int = 2) -> Plan:
    return make_plan(sunk._sinks, parallelism)


def sender(plan: Plan, index: int = 0) -> tuple[Host, list[dict[Any, Any]]]:
    """The subtask of the source, and where its snapshots go."""
    snapshots: list[dict[Any, Any]] = []
    source = plan.stages[0].source
    assert source is not None
    host = Host(plan, 0, index, source.splits(), lambda number, data: snapshots.append(pickle.loads(data)))
    host.begin(None, None)
    return host, snapshots


def counts(sendings: list[Any]) -> dict[str, int]:
    found: dict[str, int] = {}
    for _, _, message in sendings:
        if isinstance(message, Partial):
            content = dict(message.content.iter_rows()) if hasattr(message.content, "iter_rows") else message.content
            found.update(content)
    return found


def total_counts(emit: str = "final") -> Any:
    return Stream.from_list(WORDS, splits=1).count_by(emit=emit).to_list()


def word_blocks() -> Any:
    return Stream.from_list([" ".join(WORDS).encode()], splits=1).count_words().to_list()


@pytest.mark.parametrize("program", [total_counts, word_blocks])
def test_counts_are_snapshotted_at_a_barrier_and_sent_at_the_end(program: Any) -> None:
    host, snapshots = sender(plan_of(program()))
    assert host.step()[1] == []
    kinds = {type(message) for _, _, message in host.end_epoch(1)}
    assert kinds == {Barrier}
    assert any(key[0] == "exchange" for key in snapshots[0] if isinstance(key, tuple))
    while not host.has_ended:
        sendings = host.step()[1]
    assert counts(sendings) == {"a": 3, "b": 2, "c": 1}
    assert isinstance(sendings[-1][2], End)


def test_a_count_that_is_shown_as_it_changes_is_sent_at_each_barrier() -> None:
    host, _ = sender(plan_of(total_counts("updates")))
    host.step()
    assert counts(host.end_epoch(1)) == {"a": 3, "b": 2, "c": 1}


@pytest.mark.parametrize("program", [total_counts, word_blocks])
@pytest.mark.parametrize("parallelism", [1, 2, 3])
def test_what_was_held_goes_on_with_another_parallelism(program: Any, parallelism: int) -> None:
    host, snapshots = sender(plan_of(program()))
    host.step()
    host.end_epoch(1)
    held = {key: value for key, value in snapshots[0].items() if key != "source"}
    empty = sender(plan_of(program()), 1)
    empty[0].end_epoch(1)
    parts = [held, {key: value for key, value in empty[1][0].items() if key != "source"}]
    found: dict[str, int] = {}
    for index in range(parallelism):
        other, _ = sender(plan_of(program(), parallelism), index)
        other.subtask.restore(parts)
        other.subtask.end()
        for word, count in counts(other.subtask.take_outbox()).items():
            found[word] = found.get(word, 0) + count
    assert found == {"a": 3, "b": 2, "c": 1}


def test_what_is_held_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "COMBINED_ENTRIES_MAX", 3)
    host, _ = sender(plan_of(total_counts()))
    assert counts(host.step()[1]) == {"a": 3, "b": 2, "c": 1}
    assert host.measures()["state_keys"] == 0


def test_the_state_that_is_shown_counts_what_senders_hold() -> None:
    host, _ = sender(plan_of(total_counts()))
    host.step()
    assert host.measures()["state_keys"] == 3


def test_state_of_an_aggregate_that_cannot_be_pickled_names_the_operator() -> None:
    import threading

    program: Any = (
        Stream.from_list(WORDS, splits=1)
        .key_by(str)
        .aggregate(threading.Lock, lambda lock, word: lock, merge=lambda a, b: a)
        .to_list()
    )
    host, _ = sender(plan_of(program))
    host.step()
    with pytest.raises(Exception, match=r"the state of reduce\(.*can't be pickled"):
        host.end_epoch(1)


def test_batches_of_other_operators_go_through() -> None:
    host, _ = sender(
        plan_of(Stream.from_list(WORDS, splits=1).key_by(str).process(lambda key, value, context: [value]).to_list())
    )
    messages = [message for _, _, message in [*host.step()[1], *host.end_epoch(1)]]
    assert sum(len(message) for message in messages if isinstance(message, Batch)) == len(WORDS)
