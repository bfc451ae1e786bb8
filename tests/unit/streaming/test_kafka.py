"""Kafka, with a client of our own in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from skate.streaming import SinkError, Stream, StreamError
from skate.streaming.sinks.kafka import KafkaSink
from skate.streaming.sources.kafka import KafkaMessage, KafkaSource
from skate.streaming.sources.splits import SplitReader
from tests.unit.streaming import fake_kafka
from tests.unit.streaming.reading import read_all


@pytest.fixture(autouse=True)
def no_topics() -> Iterator[None]:
    fake_kafka.topics.clear()
    yield
    fake_kafka.topics.clear()


@pytest.mark.parametrize("parallelism", [1, 2])
@pytest.mark.parametrize("interrupt_after", [None, 1])
def test_a_bounded_topic_is_read_once(parallelism: int, interrupt_after: int | None) -> None:
    fake_kafka.fill("words", [f"w{i}" for i in range(100)])
    source = KafkaSource("words", servers="x", bounded=True, client=fake_kafka)
    messages: list[KafkaMessage] = read_all(source, parallelism, interrupt_after=interrupt_after)
    assert sorted(message.value for message in messages if message.value) == sorted(f"w{i}".encode() for i in range(100))
    assert {message.time_s for message in messages if message.partition == 0} == {float(i) for i in range(34)}


def test_an_endless_topic_gives_what_is_added_and_new_partitions() -> None:
    fake_kafka.fill("words", ["a"], partitions=1)
    source = KafkaSource("words", servers="x", client=fake_kafka)
    reader = SplitReader(source, source.splits(), 0, 1, {})
    first = reader.read()
    assert first is not None
    assert [message.value for message in first.values] == [b"a"]
    fake_kafka.topics["words"][0].append(fake_kafka.Message("words", 0, 1, None, b"b"))
    fake_kafka.topics["words"].append([fake_kafka.Message("words", 1, 0, None, b"c")])
    values = [message.value for _ in range(4) if (batch := reader.read()) for message in batch.values]
    assert sorted(values) == [b"b", b"c"]
    assert reader.positions == {"words/0": 2, "words/1": 1}
    reader.close()


def test_a_topic_that_is_not_there_is_named() -> None:
    with pytest.raises(StreamError, match="'missing': not found"):
        KafkaSource("missing", servers="x", client=fake_kafka).splits()


def test_records_are_produced_when_their_snapshot_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake_kafka, "queue_max", 10)  # Smaller than a transaction: the producer has to wait.

    class Client:  # A module can't be copied into a subtask; a class is the same one there.
        Producer = fake_kafka.Producer

    sink = KafkaSink("out", servers="x", key=lambda record: record[:1], client=Client)
    Stream.from_list([f"r{i}" for i in range(25)], splits=1).to(sink).run(in_process=True)
    (log,) = fake_kafka.topics["out"]
    assert [message.value() for message in log] == [f"r{i}" for i in range(25)]
    assert log[0].key() == "r"
    sequences = [message.headers()[0][1] for message in log]
    assert sequences == [f"0.1.{i}".encode() for i in range(25)]


def test_what_the_broker_does_not_take_is_an_error() -> None:
    class Refusing(fake_kafka.Producer):
        def flush(self, timeout: float) -> int:
            return 3

    class Client:
        Producer = Refusing

    sink = KafkaSink("out", servers="x", client=Client)
    with pytest.raises(SinkError, match=r"'out' did not take 3 of 5 messages"):
        Stream.from_list(range(5)).to(sink).run(in_process=True)


def test_without_the_client_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(ImportError, match=r"pip install 'skate\[kafka\]'"):
        Stream.from_kafka("words", servers="localhost")
