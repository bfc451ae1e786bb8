"""`LoggingConfig`: log records of driver and workers in one form, each with the ids of where it was written. The names of fields are Ray's."""

from __future__ import annotations

import json
import logging
import logging.config
from collections.abc import Callable, Mapping, Sequence
from time import time_ns
from typing import Any

ENCODINGS = ("TEXT", "JSON")
_TEXT_FORMAT = "%(asctime)s\t%(levelname)s %(filename)s:%(lineno)s -- %(message)s"
_SHOWN = ("asctime", "levelname", "message", "filename", "lineno")
_STANDARD = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"})
_BYTES = ("job_id", "worker_id", "node_id", "actor_id", "task_id")  # Names in a runtime context, and in a record.
_TEXTS = {"actor_name": "actor_name", "task_name": "task_name", "function_name": "task_func_name"}


class LoggingConfig:
    """How log records of the driver and of its workers are written: `skate.init(logging_config=skate.LoggingConfig(encoding="JSON"))`.

    The root logger writes to stderr. A record tells job, worker and node, in a task also its id and name, in an actor the actor's, and what the
    program adds by `logger.info(…, extra={…})`.

    Args:
        encoding: "TEXT", or "JSON": an object a line.
        log_level: Of the root logger: "DEBUG", "INFO", "WARNING", "ERROR" or "CRITICAL".
        additional_log_standard_attrs: Attributes of `logging.LogRecord` to be written, too: "name", "process", "threadName", …

    Raises:
        ValueError: An encoding, level or attribute that does not exist.
    """

    def __init__(
        self, encoding: str = "TEXT", log_level: str = "INFO", additional_log_standard_attrs: Sequence[str] = ()
    ) -> None:
        if encoding not in ENCODINGS:
            raise ValueError(f"LoggingConfig: encoding={encoding!r} must be 'TEXT' or 'JSON'")
        if not isinstance(logging.getLevelName(log_level), int):
            raise ValueError(f"LoggingConfig: log_level={log_level!r} must be 'DEBUG', 'INFO', 'WARNING', 'ERROR' or 'CRITICAL'")
        unknown = [name for name in additional_log_standard_attrs if name not in _STANDARD]
        if unknown:
            raise ValueError(
                f"LoggingConfig: additional_log_standard_attrs: a logging.LogRecord has no {', '.join(map(repr, unknown))}"
            )
        self.encoding = encoding
        self.log_level = log_level
        self.additional_log_standard_attrs = list(additional_log_standard_attrs)

    def __repr__(self) -> str:
        return f"LoggingConfig(encoding={self.encoding!r}, log_level={self.log_level!r})"


def dumped(config: LoggingConfig) -> str:
    """As text that travels to workers."""
    return json.dumps([config.encoding, config.log_level, config.additional_log_standard_attrs])


def loaded(text: str) -> LoggingConfig:
    return LoggingConfig(*json.loads(text))


def configure(config: LoggingConfig, context: Callable[[], Mapping[str, Any]]) -> None:
    """Make this process's root logger write so; its other handlers go. `context` gives the runtime context of now."""
    logging.config.dictConfig({
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"where": {"()": lambda: _Where(context)}},
        "formatters": {"form": {"()": lambda: _Formatter(config)}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "form", "filters": ["where"]}},
        "root": {"level": config.log_level, "handlers": ["stderr"]},
    })  # fmt: skip


class _Where(logging.Filter):
    """Adds ids and names to each record."""

    def __init__(self, context: Callable[[], Mapping[str, Any]]) -> None:
        super().__init__()
        self._context = context

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            context = self._context()
        except Exception:  # The session ends: the record counts, not where it was written.
            context = {}
        found: dict[str, Any] = {name: context[name].hex() for name in _BYTES if context.get(name)}
        found |= {written: context[name] for name, written in _TEXTS.items() if context.get(name)}
        found["timestamp_ns"] = time_ns()
        record.skate_context = found
        return True


class _Formatter(logging.Formatter):
    def __init__(self, config: LoggingConfig) -> None:
        super().__init__(_TEXT_FORMAT)
        self._is_json = config.encoding == "JSON"
        self._more = config.additional_log_standard_attrs

    def format(self, record: logging.LogRecord) -> str:
        more = {name: getattr(record, name, None) for name in self._more}
        more |= getattr(record, "skate_context", {})
        more |= {name: value for name, value in vars(record).items() if name not in _STANDARD and name != "skate_context"}
        text = super().format(record)  # Sets message, asctime and exc_text.
        if not self._is_json:
            first, newline, rest = text.partition("\n") if "\n" not in record.message else (text, "", "")
            return f"{first} {' '.join(f'{name}={value}' for name, value in more.items())}{newline}{rest}"
        fields = {name: getattr(record, name) for name in _SHOWN} | more
        if record.exc_text:
            fields["exc_text"] = record.exc_text
        return json.dumps(fields, default=str)
