"""A Kafka topic, by confluent-kafka. Records are produced when their snapshot is whole, and flushed before the commit is acknowledged.

At least once: what a snapshot does not hold is not produced, and what it holds is produced until the client says that it was delivered;
so a crash between the two makes records of one interval appear twice. A transaction of Kafka can't be taken up by another process, which
is why none is used. Each message has a header `skate-sequence` ("subtask.transaction.number") that a repetition repeats: a reader that
remembers them can leave the second one out, as the fault campaign does. Tried against a client in memory that behaves as
confluent-kafka is documented, not against a broker.
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
