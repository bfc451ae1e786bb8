"""A Kafka topic, by confluent-kafka. Records are produced when their snapshot is whole, and flushed before the commit is acknowledged.

Nothing that a snapshot does not hold is ever seen in the topic, and nothing is lost. A transaction of Kafka can't be taken up by another
process (Flink needs reflection for it), so a crash between flushing and the next snapshot makes the records of one interval appear again;
each message carries the headers `skate-sequence` ("subtask.transaction.number"), always the same for the same record, by which a
reader can leave the second one out. So: at least once, with what is needed for exactly once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from skate.streaming.errors import SinkError
from skate.streaming.sinks.base import TransactionalSink
from skate.streaming.sources.kafka import kafka_client

FLUSH_S = 30.0


class KafkaSink(TransactionalSink):
    kind = "kafka"

    def __init__(
        self,
        topic: str,
        *,
        servers: str,
        key: Callable[[Any], bytes | str | None] | None = None,
        value: Callable[[Any], bytes | str] | None = None,
        client: Any = None,
        **config: Any,
    ) -> None:
        super().__init__()
        from skate.streaming.sinks.text_files import as_line

        self.topic = topic
        self.key = key
        self.value = value or as_line
        self.client = client
        self.config = {"bootstrap.servers": servers, "enable.idempotence": True, **config}
        self.label = topic
        self._producer: Any = None
        if client is None:
            kafka_client()

    def prepare(self, sequence: int, records: list[Any]) -> Any:
        # The records travel in the snapshot: whoever restores it can produce them.
        return [(None if self.key is None else self.key(record), self.value(record)) for record in records]

    def commit_transaction(self, sequence: int, prepared: Any) -> None:
        if self._producer is None:
            self._producer = (self.client or kafka_client()).Producer(self.config)
        errors: list[Any] = []

        def delivered(error: Any, message: Any) -> None:
            if error is not None:
                errors.append(error)

        for number, (key, value) in enumerate(prepared):
            headers = [("skate-sequence", f"{self.index}.{sequence}.{number}".encode())]
            while True:
                try:
                    self._producer.produce(self.topic, value=value, key=key, headers=headers, on_delivery=delivered)
                    break
                except BufferError:  # The client's queue is full.
                    self._producer.poll(0.1)
        left = self._producer.flush(FLUSH_S)
        if errors or left:
            raise SinkError(
                f"Kafka topic {self.topic!r} did not take {len(errors) or left} of {len(prepared)} messages: {errors[:1] or 'timeout'}"
            )

    def undo_after(self, sequence: int) -> None:
        """Nothing is produced before it is committed."""
