"""A module with the part of confluent_kafka's API that is used, on topics in memory: behaves as its documentation says."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, ClassVar

TIMESTAMP_NOT_AVAILABLE = 0
OFFSET_BEGINNING = -2

topics: dict[str, list[list[Message]]] = {}
queue_max = 1000  # What a producer holds before BufferError.


class KafkaError(Exception):
    _PARTITION_EOF = -191

    def __init__(self, code: int, text: str = "") -> None:
        super().__init__(text)
        self._code = code

    def code(self) -> int:
        return self._code


class TopicPartition:
    def __init__(self, topic: str, partition: int, offset: int = -1001) -> None:
        self.topic, self.partition, self.offset = topic, partition, offset


class Message:
    def __init__(
        self, topic: str, partition: int, offset: int, key: Any, value: Any, headers: Any = None, error: Any = None
    ) -> None:
        self._fields = topic, partition, offset, key, value
        self._headers = headers
        self._error = error

    def topic(self) -> Any:
        return self._fields[0]

    def partition(self) -> Any:
        return self._fields[1]

    def offset(self) -> Any:
        return self._fields[2]

    def key(self) -> Any:
        return self._fields[3]

    def value(self) -> Any:
        return self._fields[4]

    def headers(self) -> Any:
        return self._headers

    def error(self) -> Any:
        return self._error

    def timestamp(self) -> tuple[int, int]:
        return 1, 1000 * int(self._fields[2])


class _Metadata:
    def __init__(self, name: str) -> None:
        self.error = None
        self.partitions = dict.fromkeys(range(len(topics[name])))


class _Cluster:
    def __init__(self) -> None:
        self.topics = {name: _Metadata(name) for name in topics}


class Consumer:
    def __init__(self, config: dict[str, Any]) -> None:
        assert config["enable.auto.commit"] is False
        self._at: TopicPartition | None = None

    def list_topics(self, topic: str, timeout: float) -> _Cluster:
        return _Cluster()

    def get_watermark_offsets(self, place: TopicPartition, timeout: float) -> tuple[int, int]:
        return 0, len(topics[place.topic][place.partition])

    def assign(self, places: list[TopicPartition]) -> None:
        (self._at,) = places
        self._at.offset = max(0, self._at.offset)

    def consume(self, num_messages: int, timeout: float) -> list[Message]:
        assert self._at is not None
        log = topics[self._at.topic][self._at.partition]
        messages = log[self._at.offset : self._at.offset + min(num_messages, 7)]
        self._at.offset += len(messages)
        if not messages:
            return [
                Message(
                    self._at.topic, self._at.partition, self._at.offset, None, None, error=KafkaError(KafkaError._PARTITION_EOF)
                )
            ]
        return messages

    def close(self) -> None:
        self._at = None


class Producer:
    delivered: ClassVar[int] = 0

    def __init__(self, config: dict[str, Any]) -> None:
        assert config["enable.idempotence"] is True
        self._queue: list[Any] = []

    def produce(self, topic: str, value: Any, key: Any, headers: Any, on_delivery: Any) -> None:
        if len(self._queue) >= queue_max:
            raise BufferError("Local: Queue full")
        self._queue.append((topic, value, key, headers, on_delivery))

    def poll(self, timeout: float) -> int:
        for topic, value, key, headers, on_delivery in self._queue:
            log = topics.setdefault(topic, [[]])[0]
            message = Message(topic, 0, len(log), key, value, headers)
            log.append(message)
            on_delivery(None, message)
        count = len(self._queue)
        self._queue = []
        return count

    def flush(self, timeout: float) -> int:
        self.poll(timeout)
        return 0


def fill(topic: str, records: list[str], partitions: int = 3) -> None:
    logs: dict[int, list[Message]] = defaultdict(list)
    for number, record in enumerate(records):
        log = logs[number % partitions]
        log.append(Message(topic, number % partitions, len(log), f"k{number}".encode(), record.encode()))
    topics[topic] = [logs[i] for i in range(partitions)]
