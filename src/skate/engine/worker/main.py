"""Where a worker process starts: forked by the node (`run_worker`), or executed with another interpreter (`main`).
Three threads of ours:

    main thread      waits for orders, then serves leases, or becomes an actor
    skate-control    orders of the node, clock (`control`)
    skate-pump       the client's socket to the node, while no user code waits (`client/pump`)
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import os
import socket
import sys
from typing import Any, NoReturn

import msgspec

# All that a worker needs is imported here, before the node forks the first one; asyncio, heavier than the rest together, is not.
from skate.engine.client import current
from skate.engine.client.client import Client
from skate.engine.object_store.arena import Arena
from skate.engine.spec import messages as m
from skate.engine.spec.boot import WorkerBoot
from skate.engine.transport.channel import Channel
from skate.engine.worker import threaded_actor  # noqa: F401
from skate.engine.worker.actor import become_actor
from skate.engine.worker.bars import watch_for_tqdm
from skate.engine.worker.control import Control
from skate.engine.worker.execution import Executor
from skate.engine.worker.lease_loop import LeaseLoop
from skate.engine.worker.leaving import leave
from skate.engine.worker.runtime import WorkerRuntime


def main() -> NoReturn:
    """argv: client fd, control fd, arena fd, WorkerBoot as JSON."""
    client_fd, control_fd, arena_fd = (int(argument) for argument in sys.argv[1:4])
    for fd in (client_fd, control_fd, arena_fd):
        os.set_inheritable(fd, False)
    run_worker(msgspec.json.decode(sys.argv[4], type=WorkerBoot), client_fd, control_fd, arena_fd)


def run_worker(boot: WorkerBoot, client_fd: int, control_fd: int, arena_fd: int) -> NoReturn:
    """Be worker number `boot.worker` until the end of this process."""
    try:
        runtime = start(boot, client_fd, control_fd, arena_fd)
        serve(runtime)
    except BaseException:
        import traceback

        traceback.print_exc()
        try:
            sys.stderr.flush()
        finally:
            os._exit(1)


def start(boot: WorkerBoot, client_fd: int, control_fd: int, arena_fd: int) -> WorkerRuntime:
    """Set up everything but the loop; returns the `WorkerRuntime`."""
    faulthandler.enable(2)  # A crash in C code leaves the Python stack in the worker's output.
    gc.freeze()  # What the node had loaded is shared with it, and stays: never look at it again.
    _reseed()
    hooks = _find_hooks(boot.hooks)
    node = Channel(socket.socket(fileno=client_fd))
    client = Client(node, boot.welcome, Arena.attach(arena_fd), hooks.ref_class, is_worker=True)
    runtime = WorkerRuntime(boot, client)
    runtime.control = Control(runtime, control_fd)
    runtime.dynamic_class = getattr(hooks, "dynamic_class", list)
    runtime.output.install()
    watch_for_tqdm()
    runtime.environment.apply()
    client.current_task = runtime.current_task
    client.on_block = runtime.on_block
    client.on_unblock = runtime.on_unblock
    current.set_client(client)
    runtime.guard_forks()
    runtime.interrupts.install()
    client.start()
    with client.lock:
        client.pump.start_background()
    hooks.attach(client, runtime)
    runtime.control.start()
    runtime.environment.run_setup_hook()
    return runtime


def serve(runtime: WorkerRuntime) -> NoReturn:
    """The main thread's life: orders, one after another."""
    executor = Executor(runtime)
    leases = LeaseLoop(runtime, executor)
    while True:
        if runtime.orders:
            order, descriptors = runtime.orders.popleft()
            if type(order) is m.AttachLease:
                leases.serve(order, descriptors)
            elif type(order) is m.BecomeActor:
                become_actor(runtime, executor, order)
            continue
        if runtime.exit_code is not None:
            leave(runtime, runtime.exit_code)
        runtime.client.housekeep()
        runtime.output.flush_idle()
        runtime.links.receive(None)


def _find_hooks(dotted: str) -> Any:
    module, _, name = dotted.partition(":")
    return getattr(importlib.import_module(module), name)()


def _reseed() -> None:
    """Forked workers must not draw the same random numbers. Python's own generator sees to itself."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and "numpy.random" in sys.modules:
        numpy.random.seed()
