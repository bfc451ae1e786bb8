"""Leased tasks: the loop of the main thread that claims, runs and reports.

    receive ─► pending ─► claim a token ─► run ─► results held back ─► flush

A token (see `transport/tokens`) decides who owns a call: the caller may have taken back the oldest ones it sent. So the token
that is read next names the call to run; calls before it in `pending` were taken back, and a call whose token was read but whose
packet has not come is on its way. Results are sent when nothing is left to claim, or when the oldest has waited RESULT_FLUSH_S;
what a long call would keep waiting is sent by the control thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skate.config import RESULT_FLUSH_S
from skate.engine.spec import messages as m
from skate.engine.transport import tokens
from skate.engine.worker.leaving import leave
from skate.engine.worker.link import Bound, Link

if TYPE_CHECKING:
    from skate.engine.worker.execution import Executor
    from skate.engine.worker.runtime import WorkerRuntime

_FLUSH_NS = int(RESULT_FLUSH_S * 1e9)


class LeaseLoop:
    """Serves one lease after another."""

    def __init__(self, runtime: WorkerRuntime, executor: Executor) -> None:
        self._runtime = runtime
        self._executor = executor

    def serve(self, order: m.AttachLease, descriptors: list[int]) -> None:
        """Run the calls of one lease until its caller gives it back."""
        runtime = self._runtime
        channel, token_read = descriptors
        link = Link(order.client, channel, runtime.links.buffer, token_read, order)
        runtime.lease = order
        runtime.namespace = order.namespace or runtime.namespace
        runtime.environment.show_gpus(order.gpu_ids)
        runtime.environment.restore_directory()
        runtime.interrupts.unblock()
        runtime.links.add(link)
        try:
            self._serve(link)
        finally:
            runtime.links.remove(link)
            for bound in link.bounds.values():
                if bound.function is None:
                    runtime.functions.give_back(bound)
            runtime.output.repair()
            runtime.lease = None
            runtime.main_call = None
        if link.is_retiring:
            leave(runtime, 0)

    def _serve(self, link: Link) -> None:
        runtime = self._runtime
        links = runtime.links
        results = link.results
        pending = link.pending
        control = runtime.control
        run = self._executor.run
        previous: Bound | None = None
        while link.is_open:
            if not pending or link.is_retiring:
                results.flush()
                runtime.client.housekeep()
                runtime.output.flush_idle()
                if runtime.exit_code is not None:
                    leave(runtime, runtime.exit_code)
                if results.has_backlog():
                    links.watch_backlog(link)
                links.receive(None)
                continue
            if results.is_gone:  # So is the caller: its end of the channel tells when all is read.
                pending.clear()
                continue
            call = self._claim(link)
            if call is None:
                continue
            bound = link.bounds[call.template]
            if bound is not previous:
                # One lease serves all functions of one shape: none inherits another's directory, output or blocked signals.
                if previous is not None:
                    runtime.environment.restore_directory()
                    runtime.output.repair()
                    runtime.interrupts.unblock()
                previous = bound
            if not bound.is_quick:
                results.flush()  # Not to wait for a call that takes long, and perhaps holds the GIL.
            end_ns = run(link, call)
            if bound.template.max_calls:
                self._count(link, bound)
            if bound.template.flush_each or (results.since_ns and end_ns - results.since_ns > _FLUSH_NS):
                results.flush()
            elif pending and not control.is_watching:
                control.watch()

    def _claim(self, link: Link) -> m.Call | None:
        """The next call that is ours; None when the caller took back everything that has come."""
        pending = link.pending
        seq = tokens.claim(link.token_read)
        if seq < 0:
            pending.clear()
            return None
        while True:
            while pending:
                call = pending.popleft()
                if call.seq == seq:
                    return call
            link.results.flush()
            self._runtime.links.receive(None)
            if not link.is_open:
                return None

    def _count(self, link: Link, bound: Bound) -> None:
        """`max_calls`: after the last one this worker takes no more."""
        counts = self._runtime.functions.calls
        key = bound.template.definition_id or bound.template.name.encode()
        counts[key] = counts.get(key, 0) + 1
        if counts[key] >= bound.template.max_calls:
            link.is_retiring = True
            link.results.send(m.Retiring())
