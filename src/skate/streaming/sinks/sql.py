"""Rows of a database table, exactly once, by SQLAlchemy (SQLite, PostgreSQL, …). Needs `pip install 'skate[sql]'`.

Rows of a transaction and its number (in the table `skate_commits`) are inserted in one transaction of the database: a second commit of
the same one sees the number, and does nothing. The rows travel in the snapshot.
"""

from __future__ import annotations

from typing import Any

from skate.streaming.errors import SinkError
from skate.streaming.operators.base import Emit
from skate.streaming.sinks.base import TransactionalSink
from skate.streaming.sinks.parquet_files import _row_of

COMMITS_TABLE = "skate_commits"


class SqlSink(TransactionalSink):
    kind = "sql"
    needs_one_writer = True  # A database takes rows one transaction after the other anyway.

    def __init__(self, url: str, table: str, *, name: str | None = None) -> None:
        """`name` tells this stream's commits from those of others that write to the same database."""
        super().__init__()
        self.url = url
        self.table = table
        self.stream_name = name or table
        self.label = table
        self._engine: Any = None
        self._tables: Any = None
        _sqlalchemy()

    def process(self, batch: Any, emit: Emit, port: int = 0) -> None:
        rows, _ = self.mapped(_row_of, batch, emit)
        self.buffer.extend(rows)

    def prepare(self, sequence: int, records: list[Any]) -> Any:
        return records

    def commit_transaction(self, sequence: int, prepared: Any) -> None:
        sql = _sqlalchemy()
        engine, (rows, commits) = self._connected()
        mine = (commits.c.stream == self.stream_name) & (commits.c.subtask == self.index)
        with engine.begin() as connection:
            last = connection.execute(sql.select(commits.c.number).where(mine)).scalar()
            if last is not None and last >= sequence:
                return
            if prepared:
                connection.execute(rows.insert(), prepared)
            if last is None:
                connection.execute(commits.insert(), {"stream": self.stream_name, "subtask": self.index, "number": sequence})
            else:
                connection.execute(commits.update().where(mine).values(number=sequence))

    def undo_after(self, sequence: int) -> None:
        sql = _sqlalchemy()
        engine, (_, commits) = self._connected()
        with engine.begin() as connection:
            last = connection.execute(
                sql.select(commits.c.number).where((commits.c.stream == self.stream_name) & (commits.c.subtask == self.index))
            ).scalar()
        if (last or 0) > sequence:
            raise SinkError(
                f"table {self.table!r} holds transaction {last} of {self.stream_name!r}, the snapshot only {sequence}: rows can't be taken back. "
                f"Go on from the newer snapshot; or remove the rows, and those of {self.stream_name!r} in {COMMITS_TABLE!r}, and start anew"
            )

    def _connected(self) -> Any:
        sql = _sqlalchemy()
        if self._engine is None:
            self._engine = sql.create_engine(self.url)
            metadata = sql.MetaData()
            commits = sql.Table(
                COMMITS_TABLE,
                metadata,
                sql.Column("stream", sql.String(200), primary_key=True),
                sql.Column("subtask", sql.Integer, primary_key=True),
                sql.Column("number", sql.Integer, nullable=False),
            )
            metadata.create_all(self._engine)
            try:
                rows = sql.Table(self.table, sql.MetaData(), autoload_with=self._engine)
            except sql.exc.NoSuchTableError as error:
                self._engine = None
                raise SinkError(
                    f"there is no table {self.table!r} in {sql.engine.make_url(self.url)!r}; create it first"
                ) from error
            self._tables = (rows, commits)
        return self._engine, self._tables

    def __deepcopy__(self, memo: Any) -> SqlSink:
        copied = SqlSink(self.url, self.table, name=self.stream_name)
        copied.on_error = self.on_error
        return copied


def _sqlalchemy() -> Any:
    try:
        import sqlalchemy
    except ImportError as error:
        raise ImportError("databases need SQLAlchemy: pip install 'skate[sql]'") from error
    return sqlalchemy
