"""Topics of Kafka, by confluent-kafka. A split is a partition; its offsets are kept in our snapshots, never committed to the broker.

Needs `pip install 'skate[kafka]'`. New partitions are found while it runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from skate.streaming.batch import Batch
from skate.streaming.errors import StreamError
from skate.streaming.sources.base import BATCH_RECORDS, Reader, Source, Split

WAIT_S = 0.005
METADATA_TIMEOUT_S = 10.0


class KafkaMessage(NamedTuple):
    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    time_s: float | None  # What the producer or the broker says.


class KafkaSource(Source):
    kind = "kafka"

    def __init__(
        self, topics: str | Sequence[str], *, servers: str, bounded: bool = False, client: Any = None, **config: Any
    ) -> None:
        """`bounded`: up to the offsets that are the last ones at the start. `client`: a module with confluent_kafka's API, for tests."""
        self.topics = [topics] if isinstance(topics, str) else list(topics)
        self.config = {
            "bootstrap.servers": servers,
            "group.id": "skate",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            **config,
        }
        self.is_bounded = bounded
        self.grows = not bounded
        self.client = client
        self.label = ", ".join(self.topics)
        if client is None:
            kafka_client()  # Say at once if it is missing.

    def splits(self) -> list[Split]:
        kafka = self.client or kafka_client()
        consumer = kafka.Consumer(self.config)
        try:
            splits = []
            for topic in self.topics:
                metadata = consumer.list_topics(topic, timeout=METADATA_TIMEOUT_S).topics.get(topic)
                if metadata is None or metadata.error is not None:
                    raise StreamError(f"Kafka topic {topic!r}: {'not found' if metadata is None else metadata.error}")
                for partition in sorted(metadata.partitions):
                    last = None
                    if self.is_bounded:
                        last = consumer.get_watermark_offsets(kafka.TopicPartition(topic, partition), timeout=METADATA_TIMEOUT_S)[
                            1
                        ]
                    splits.append(Split(f"{topic}/{partition}", (topic, partition, last)))
            return splits
        finally:
            consumer.close()

    def open(self, split: Split, position: Any) -> Reader:
        return _PartitionReader(self, split.detail, position)

    def settings(self) -> dict[str, Any]:
        return {"topics": repr(self.topics)}


class _PartitionReader(Reader):
    def __init__(self, source: KafkaSource, place: tuple[str, int, int | None], position: int | None) -> None:
        topic, partition, last = place
        kafka = source.client or kafka_client()
        self.kafka = kafka
        self.consumer = kafka.Consumer(source.config)
        self.position: int = position if position is not None else 0
        self.last = last
        self.label = f"{topic}/{partition}"
        offset = position if position is not None else kafka.OFFSET_BEGINNING
        self.consumer.assign([kafka.TopicPartition(topic, partition, offset)])
        self.is_done = last is not None and self.position >= last

    def read(self) -> Batch | None:
        messages = self.consumer.consume(num_messages=BATCH_RECORDS, timeout=WAIT_S)
        values = []
        for message in messages:
            error = message.error()
            if error is not None:
                if error.code() == self.kafka.KafkaError._PARTITION_EOF:
                    continue
                raise StreamError(f"Kafka, {self.label}: {error}")
            if self.last is not None and message.offset() >= self.last:
                self.is_done = True
                break
            kind, milliseconds = message.timestamp()
            time_s = None if kind == self.kafka.TIMESTAMP_NOT_AVAILABLE else milliseconds / 1000
            values.append(
                KafkaMessage(message.topic(), message.partition(), message.offset(), message.key(), message.value(), time_s)
            )
            self.position = message.offset() + 1
        if self.last is not None and self.position >= self.last:
            self.is_done = True
        return Batch(values, None, None, f"Kafka, {self.label}, from offset {values[0].offset:,}") if values else None

    def close(self) -> None:
        self.consumer.close()


def kafka_client() -> Any:
    """The module confluent_kafka.

    Raises:
        ImportError: It is not installed; says how to.
    """
    try:
        import confluent_kafka
    except ImportError as error:
        raise ImportError("Kafka needs confluent-kafka: pip install 'skate[kafka]'") from error
    return confluent_kafka
