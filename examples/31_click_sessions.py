"""Sessions over a click log: files of JSON lines in, a table of a database out, exactly once, although a worker is killed meanwhile."""

import json
import os
import random
import signal
import sqlite3
import tempfile
from pathlib import Path

from skate.streaming import Session, Stream, TextSink, Windowed

MINUTE_S = 60
directory = Path(tempfile.mkdtemp())


def write_log() -> None:
    """Four files of clicks, at most a minute out of order, with two damaged lines among them."""
    dice = random.Random(7)
    (directory / "clicks").mkdir()
    for file in range(4):
        start_s = 1_700_000_000 + file * 3600
        clicks = sorted(
            (start_s + dice.uniform(0, 3600), f"user-{dice.randrange(400)}", f"/page/{dice.randrange(50)}") for _ in range(15_000)
        )
        clicks.sort(key=lambda click: click[0] + dice.uniform(0, 60))
        lines = [json.dumps({"time": time, "user": user, "page": page}) for time, user, page in clicks]
        if file == 1:
            lines[700:700] = ['{"time": 17000', '{"time": "yesterday", "user": "user-1", "page": "/"}']
        (directory / "clicks" / f"{file}.jsonl").write_text("\n".join(lines) + "\n")


def row(session: Windowed) -> dict[str, object]:
    pages = session.value
    length_s = session.end_s - session.start_s - 5 * MINUTE_S  # A session's window ends one gap after its last click.
    return {"user": session.key, "start": session.start_s, "seconds": length_s, "clicks": len(pages), "first": min(pages)[1]}


write_log()
database = directory / "sessions.db"
sqlite3.connect(database).execute(
    "CREATE TABLE sessions (user TEXT, start REAL, seconds REAL, clicks INTEGER, first TEXT)"
).close()

running = (
    Stream.from_json_lines(directory / "clicks", on_error=TextSink(directory / "damaged"))
    .event_time(lambda click: click["time"], max_delay_s=MINUTE_S)
    .key_by(lambda click: click["user"])
    .window(Session(gap_s=5 * MINUTE_S))
    .aggregate(list, lambda pages, click: [*pages, (click["time"], click["page"])], merge=lambda a, b: a + b)
    .map(row)
    .to_sql(f"sqlite:///{database}", "sessions")
    .start(directory / "snapshots", interval_s=0.1)
)
running.wait_for_snapshot()
for pid in list(running.worker_pids().values())[:1]:  # None on the inline backend, where this program is the worker.
    os.kill(pid, signal.SIGKILL)
running.wait()

sessions, clicks = sqlite3.connect(database).execute("SELECT COUNT(*), SUM(clicks) FROM sessions").fetchone()
damaged = [json.loads(line) for path in sorted((directory / "damaged").glob("part-*")) for line in path.read_text().splitlines()]
print(f"{sessions:,} sessions of {clicks:,} clicks, {running.restarts} restart")
for letter in damaged:
    print(f"left out: {letter['error'].split(':')[0]} in {letter['operator']}")
