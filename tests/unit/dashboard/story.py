"""A run that is only data, told in a few words: `Story().submit("prep", at=0).run("prep", worker=2, start=5, ms=10)`. Times in milliseconds."""

from __future__ import annotations

from skate import run_format as f
from skate.dashboard.history import History, Key
from skate.run_format import unpack_row

T0_US = 1_000_000_000


class Story:
    def __init__(self) -> None:
        self.names: dict[int, str] = {0: "…"}
        self.history = History(self.names)
        self.row(f.LANE, f.CAME, 0, 1, -1000, self.name("driver app.py"), 1, 10, 0)
        for lane in (2, 3):
            self.worker(lane, -1000)

    def worker(self, lane: int, at: float) -> None:
        self.row(f.LANE, f.CAME, 0, lane, at, self.name("worker"), 1, 10 + lane, 0)

    def name(self, text: str) -> int:
        found = next((number for number, known in self.names.items() if known == text), len(self.names))
        self.names[found] = text
        return found

    def row(
        self, kind: int, state: int, attempt: int, lane: int, at: float, name: int, owner: int, number: int, ms: float
    ) -> None:
        data = f.pack_row(kind, state, attempt, lane, T0_US + at * 1000, name, owner, number, int(ms * 1000))
        self.history.read([unpack_row(data)])

    def submitted(self, below: int, at: float, owner: int = 1) -> None:
        self.row(f.SUBMITTED, 0, 0, owner, at, 0, owner, below, 0)

    def run(
        self,
        name: str,
        number: int,
        worker: int,
        start: float,
        ms: float,
        *,
        state: int = f.FINISHED,
        owner: int = 1,
        kind: int = f.TASK,
        attempt: int = 0,
    ) -> Key:
        self.row(kind, state, attempt, worker, start, self.name(name), owner, number, ms)
        return owner, number

    def needs(self, taker: Key, maker: Key, at: float) -> None:
        self.row(f.NEEDS, 0, 1, maker[0], at, maker[1], *taker, 0)

    def blocked(self, key: Key, lane: int, start: float, ms: float) -> None:
        self.row(f.BLOCKED, 0, 0, lane, start, 0, *key, ms)

    def restored(self, key: Key, at: float) -> None:
        self.row(f.RESTORED, 0, 1, 0, at, 100, *key, 0)

    def packed(self, site: str, of: str, mib: int, ms: float) -> None:
        self.row(f.PACKED, 0, 0, 1, 0, self.name(site), self.name(of), mib * 1024, ms)
