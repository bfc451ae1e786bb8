"""Anomalies in a stream of sensor readings: state per sensor (its running mean and deviation), and timers that notice silence."""

import math
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

from skate.streaming import KeyedProcess, ProcessContext, Stream


class Reading(NamedTuple):
    time_s: float
    sensor: str
    celsius: float


def readings() -> Iterator[Reading]:
    """Twenty sensors, once a second for ten minutes; three readings are far off, and one sensor falls silent."""
    dice = random.Random(3)
    spikes = {(120, 4): 60.0, (333, 11): -20.0, (500, 4): 55.0}
    for second in range(600):
        for sensor in range(20):
            if sensor == 9 and second >= 250:
                continue
            yield Reading(float(second), f"sensor-{sensor}", spikes.get((second, sensor), dice.gauss(20 + sensor / 10, 0.5)))


class Watch(KeyedProcess):
    """Welford's running variance (Knuth, The Art of Computer Programming, vol. 2, 4.2.2); silence is 30 s without a reading."""

    def process(self, key: str, value: Reading, context: ProcessContext) -> Iterator[str]:
        state: dict[str, Any] = context.state
        count, mean, squares = state.get("count", 0), state.get("mean", 0.0), state.get("squares", 0.0)
        deviation = math.sqrt(squares / (count - 1)) if count > 1 else math.inf
        if count >= 30 and abs(value.celsius - mean) > 6 * deviation:
            yield f"{value.time_s:3.0f} s  {key}: {value.celsius:.0f} °C, usually {mean:.1f} ± {deviation:.1f}"
        else:  # What is far off does not change what is usual.
            step = value.celsius - mean
            mean += step / (count + 1)
            state.update(count=count + 1, mean=mean, squares=squares + step * (value.celsius - mean))
        state["last_s"] = value.time_s
        if "timer" not in state:
            state["timer"] = True
            context.set_timer(value.time_s + 30)

    def on_timer(self, key: str, time_s: float, context: ProcessContext) -> Iterator[str]:
        if math.isinf(context.watermark_s):
            return  # The stream has ended: that is no silence.
        silent_s = time_s - context.state["last_s"]
        if silent_s >= 30:
            yield f"{time_s:3.0f} s  {key}: silent for {silent_s:.0f} s"
            del context.state["timer"]
        else:
            context.set_timer(context.state["last_s"] + 30)


alarms = (
    Stream.from_iterator(readings)
    .event_time(lambda reading: reading.time_s)
    .key_by(lambda reading: reading.sensor)
    .process(Watch())
)
for alarm in sorted(alarms.iterate()):
    print(alarm)
