"""The node process's entry: argv is the descriptor of the driver's socket (-1: none) and a NodeConfig as JSON.

It sets the process up, makes the parts, and runs the shell until the session is over. What workers will import is imported here
once, after the driver has got its answer and before the first fork; `gc.freeze` keeps the garbage collector from touching (and so
copying) those pages in every worker.
"""

from __future__ import annotations

import gc
import importlib
import os
import socket
import sys
import time
from typing import NoReturn

import msgspec

from skate.engine.node import detect
from skate.engine.node.shell import Shell
from skate.engine.node.surroundings import set_up_process
from skate.engine.object_store.arena import Arena
from skate.engine.object_store.directory import Directory
from skate.engine.scheduler.config import SchedulerConfig
from skate.engine.scheduler.scheduler import Scheduler
from skate.engine.spec.boot import NodeConfig, WorkerBoot
from skate.engine.spec.ids import SESSION_TAG_BYTES
from skate.engine.spec.resources import Resources, to_units

_NODE_ID_BYTES = 16
_PRELOAD = (
    "skate.engine.worker.main",
    "skate.engine.worker.execution",
    "skate.engine.worker.lease_loop",
    "skate.engine.worker.actor",
    "skate.engine.worker.leaving",
    "cloudpickle",  # Most functions arrive pickled by it.
)


def main() -> NoReturn:
    gc.disable()  # What the node makes has no cycles worth the pauses, imports are quicker; a worker enables it again.
    status = 1
    try:
        driver_fd = int(sys.argv[1])
        config = msgspec.json.decode(sys.argv[2], type=NodeConfig)
        set_up_process()
        driver = socket.socket(fileno=driver_fd) if driver_fd >= 0 else None
        if driver is not None:
            driver.set_inheritable(False)
        run(config, driver)
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)  # Nothing is left to clean up, and finalizers of a large process take time.


def run(config: NodeConfig, driver: socket.socket | None) -> None:
    """One session, from its first client to its end."""
    amounts, store_bytes, labels = detect.amounts(config)
    arena = Arena.create(store_bytes)
    session_tag = os.urandom(SESSION_TAG_BYTES)
    nodes: list[tuple[bytes, Resources, dict[str, str]]] = []
    for extra in [amounts, *config.extra_nodes]:
        node = os.urandom(_NODE_ID_BYTES)
        own_labels = labels if not nodes else {}
        nodes.append((node, to_units(extra), {"ray.io/node-id": node.hex(), **own_labels}))
    shell = Shell(
        config,
        Scheduler(SchedulerConfig(idle_worker_timeout_s=config.idle_worker_timeout_s)),
        Directory(store_bytes),
        arena,
        arena_bytes=store_bytes,
        session_tag=session_tag,
        nodes=nodes,
        run_worker=_run_worker,
        warm_up=lambda: warm_up(config),
    )
    shell.open(driver)
    shell.run()


def warm_up(config: NodeConfig) -> None:
    """Import what every worker needs, so that a fork has it already."""
    for name in (*_PRELOAD, config.hooks.partition(":")[0], *config.preload):
        if not name:
            continue
        try:
            importlib.import_module(name)
        except Exception as error:  # The worker will meet it too, and tell the user.
            stamp = time.strftime("%Y-%m-%d %H:%M:%S")
            sys.stderr.write(f"{stamp} cannot import {name} for warm workers: {error!r}\n")
            sys.stderr.flush()
    gc.freeze()


def _run_worker(boot: WorkerBoot, client_fd: int, control_fd: int, arena_fd: int) -> NoReturn:
    from skate.engine.worker.main import run_worker

    run_worker(boot, client_fd, control_fd, arena_fd)
