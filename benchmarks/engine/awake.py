"""Keeps every CPU from going to sleep while something is measured.

Waking a halted virtual CPU costs a round through the hypervisor: 50–100 µs here, more than the call that is measured. A thread of the lowest
class (SCHED_IDLE) that spins on each CPU prevents the halt and gives way to any other thread at once.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def all_cpus() -> Iterator[None]:
    spinners = [
        multiprocessing.get_context("fork").Process(target=_spin, args=(cpu,), daemon=True) for cpu in os.sched_getaffinity(0)
    ]
    for spinner in spinners:
        spinner.start()
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.join()


def _spin(cpu: int) -> None:
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    os.sched_setaffinity(0, {cpu})
    while os.getppid() != 1:
        for _ in range(100_000):
            pass
