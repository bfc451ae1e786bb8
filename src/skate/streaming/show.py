"""Show: what a running stream tells its users: a document for the web UI, and a progress bar on bounded inputs."""

from __future__ import annotations

import math
import os
import sys
import time
import uuid
from typing import Any

import skate
from skate.streaming.figures import Figures
from skate.streaming.graph import Plan

PUBLISH_S = 0.5


class Reporter:
    def __init__(self, plan: Plan, name: str | None, progress: bool | None) -> None:
        self.plan = plan
        self.key = f"{name or os.path.basename(sys.argv[0]) or 'stream'}-{uuid.uuid4().hex[:6]}"
        self.started_s = time.time()
        self._published_s = 0.0
        self._last: dict[int, tuple[float, int, float]] = {}
        self._document: dict[str, Any] = {"state": "starting", "stages": [], "edges": []}
        self._sizes = [stage.source.size_bytes() for stage in plan.stages if stage.source is not None]
        self._has_bar = progress if progress is not None else sys.stderr.isatty()
        self._bar_length = 0
        self._figures: Figures | None = None

    def update(self, figures: Figures) -> None:
        """Called after each report; cheap but twice a second."""
        self._figures = figures
        now = time.monotonic()
        if now - self._published_s < PUBLISH_S and self._document["state"] == "running":
            return
        self._published_s = now
        self._document = self._describe(figures, now)
        self._publish()
        if self._has_bar:
            self._draw()

    def document(self) -> dict[str, Any]:
        return self._document

    def close(self, error: BaseException | None) -> None:
        if self._figures is not None:
            self._document = self._describe(self._figures, time.monotonic())
        self._document = {
            **self._document,
            "state": "ended" if error is None else "failed",
            "error": "" if error is None else str(error),
        }
        self._publish()
        if self._has_bar and self._document["stages"]:
            self._draw()
            sys.stderr.write("\n")

    def _describe(self, figures: Figures, now: float) -> dict[str, Any]:
        stages = []
        for stage in self.plan.stages:
            measures = [figures.measures[stage.id, i] for i in range(stage.parallelism) if (stage.id, i) in figures.measures]
            records = sum(measure["records_in"] for measure in measures)
            waited_s = sum(measure["backpressure_s"] for measure in measures)
            then, before, waited_before_s = self._last.get(stage.id, (now, 0, 0.0))
            elapsed_s = now - then
            self._last[stage.id] = (now, records, waited_s)
            marks = [measure["watermark_s"] for measure in measures if measure["watermark_s"] is not None]
            stages.append(
                {
                    "id": stage.id,
                    "name": stage.name,
                    "operators": [plan.operator.name for plan in stage.operators],
                    "source": None if stage.source is None else stage.source.name,
                    "parallelism": stage.parallelism,
                    "records_in": records,
                    "records_out": sum(measure["records_out"] for measure in measures),
                    "records_per_s": max(0.0, (records - before) / elapsed_s) if elapsed_s > 0 else 0.0,
                    "backpressure": min(1.0, max(0.0, (waited_s - waited_before_s) / elapsed_s / max(1, len(measures))))
                    if elapsed_s > 0
                    else 0.0,
                    "cpu_s": round(sum(measure["cpu_s"] for measure in measures), 3),
                    "watermark_s": min(marks) if marks and all(map(math.isfinite, marks)) else None,
                    "state_keys": sum(measure["state_keys"] for measure in measures),
                    "skipped": sum(measure["skipped"] for measure in measures),
                    "late": sum(measure["late"] for measure in measures),
                }
            )
        edges = [
            {"from": edge.from_stage, "to": edge.to_stage, "how": edge.how, "side": edge.side}
            for stage in self.plan.stages
            for edge in stage.outputs
        ]
        return {
            "state": "running",
            "name": self.key,
            "started_s": self.started_s,
            "elapsed_s": time.time() - self.started_s,
            "stages": stages,
            "edges": edges,
            "snapshots": list(figures.snapshots),
            "snapshot_failures": figures.snapshot_failures,
            "restarts": figures.restarts,
            "recovery_s": list(figures.recovery_s),
            "last_failure": figures.last_failure,
            "progress": self._progress(figures),
        }

    def _progress(self, figures: Figures) -> float | None:
        """How much of bounded inputs has been read, in [0, 1]; None if not known."""
        sources = [stage for stage in self.plan.stages if stage.source is not None]
        if not all(stage.source is not None and stage.source.is_bounded and not stage.source.is_live for stage in sources):
            return None
        done = total = 0
        for stage in sources:
            for index in range(stage.parallelism):
                measure = figures.measures.get((stage.id, index), {})
                done += measure.get("splits_done", 0)
                total += measure.get("splits", 1)
        return done / total if total else None

    def _draw(self) -> None:
        progress = self._document["progress"]
        rate = sum(stage["records_per_s"] for stage in self._document["stages"] if stage["source"])
        filled = "" if progress is None else f"[{'█' * int(progress * 30):<30}] {progress:4.0%}  "
        text = f"{filled}{rate:,.0f} records/s  {self._document['elapsed_s']:.0f} s"
        sys.stderr.write(f"\r{text:<{self._bar_length}}")
        sys.stderr.flush()
        self._bar_length = len(text)

    def _publish(self) -> None:
        skate.publish("stream", self.key, self._document)
