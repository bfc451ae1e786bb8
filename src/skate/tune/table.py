"""The live table of a study in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from skate.tune.search_space import walk

if TYPE_CHECKING:
    from skate.tune.study import TrialState

_ROWS_MAX = 16
_METRICS_MAX = 4


class LiveTable:
    """Draws the trials that run, and the best so far. Does nothing unless stderr is a terminal."""

    def __init__(self, metric: str | None, mode: str | None, *, is_wanted: bool) -> None:
        self._metric, self._mode = metric, mode
        self._live: Any = None
        if is_wanted and sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), refresh_per_second=4, transient=False)
            self._live.start()

    @property
    def is_drawn(self) -> bool:
        return self._live is not None

    def draw(self, trials: Sequence[TrialState], total: int, seconds: float) -> None:
        if self._live is not None:
            self._live.update(render(trials, total, seconds, self._metric, self._mode))

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()


def render(trials: Sequence[TrialState], total: int, seconds: float, metric: str | None, mode: str | None) -> Any:
    """The table as something rich can print."""
    from rich.table import Table

    counts: dict[str, int] = {}
    for trial in trials:
        counts[trial.state] = counts.get(trial.state, 0) + 1
    shown = ", ".join(f"{count} {state.lower()}" for state, count in sorted(counts.items()))
    table = Table(title=f"{len(trials)} of {total} trials: {shown} · {seconds:.0f} s", title_justify="left")
    sign = -1.0 if mode == "max" else 1.0

    def rank(trial: TrialState) -> tuple[bool, float, str]:
        value = trial.row.get(metric) if metric else None
        return trial.state != "RUNNING", sign * value if isinstance(value, int | float) else float("inf"), trial.trial_id

    chosen = sorted((trial for trial in trials if trial.state != "PENDING"), key=rank)
    running = [trial for trial in chosen if trial.state == "RUNNING"][: _ROWS_MAX // 2]
    chosen = running + [trial for trial in chosen if trial.state != "RUNNING"][: _ROWS_MAX - len(running)]
    parameters = list(dict.fromkeys(path for trial in chosen for path, _ in walk(trial.config)))[:6]
    names = dict.fromkeys(name for trial in chosen for name, value in trial.row.items() if isinstance(value, int | float))
    metrics = sorted(names, key=lambda name: (name != metric, name in ("training_iteration", "time_total_s")))[:_METRICS_MAX]
    for name in ("trial", "state", *parameters, *metrics):
        table.add_column(name, style="bold" if name == metric else "")
    for trial in chosen:
        config = dict(walk(trial.config))
        table.add_row(
            trial.trial_id,
            trial.state.lower(),
            *(_text(config.get(path)) for path in parameters),
            *(_text(trial.row.get(name)) for name in metrics),
        )
    return table


def _text(value: Any) -> str:
    return "" if value is None else f"{value:.5g}" if isinstance(value, float) else str(value)
