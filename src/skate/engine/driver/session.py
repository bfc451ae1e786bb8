"""A driver's session: the node process it has started or joined, its client, and all that surrounds them.

start_node ─► import the client and the backend meanwhile ─► open: Hello, Welcome ─► client, log printer, Ctrl-C
close ─► Goodbye ─► what workers have printed to the very end ─► nothing is left
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from skate.engine.driver.launch import NodeProcess, import_path, spawn_node
from skate.engine.driver.sessions import find_session, sweep_stale

if TYPE_CHECKING:
    from skate.engine.client.client import Client
    from skate.engine.transport.channel import Channel

_END_WITHIN_S = 3.0


class Wishes(Protocol):
    """`backends.base.InitOptions`, as far as the engine reads it."""

    @property
    def num_cpus(self) -> float | None: ...
    @property
    def num_gpus(self) -> float | None: ...
    @property
    def resources(self) -> Mapping[str, float]: ...
    @property
    def labels(self) -> Mapping[str, str]: ...
    @property
    def object_store_memory(self) -> int | None: ...
    @property
    def namespace(self) -> str: ...
    @property
    def log_to_driver(self) -> bool: ...
    @property
    def log_config(self) -> str: ...
    @property
    def extra(self) -> Mapping[str, Any]: ...


class DriverSession:
    def __init__(self, client: Client, node: NodeProcess | None, directory: str, path: list[str], extra_nodes: list[Any]) -> None:
        from skate.engine.driver.interrupts import Interrupts

        self.client = client
        self.node = node  # None: joined, and left again at the end.
        self.directory = directory
        self.import_path = path
        self.extra_nodes = extra_nodes
        self._printer: Any = None
        self._interrupts = Interrupts(client.pump)
        self._interrupts.install()

    @classmethod
    def open(cls, wishes: Wishes, node: NodeProcess | None, address: str, env: str, ref_class: type) -> DriverSession:
        """
        Args:
            node: What `start_node` has started; None joins the session at `address`.
            env: The program's runtime environment, canonical.

        Raises:
            ConnectionError: There is no such session.
            RuntimeError: The engine can't be started.
        """
        path = import_path()
        from skate.engine.client.client import Client
        from skate.engine.driver.connect import START_WITHIN_S, greet, make_hello, open_socket
        from skate.engine.object_store.arena import Arena
        from skate.engine.transport.channel import Channel, tune

        channel: Channel | None = None
        try:
            if node is not None:
                tune(node.sock)
                channel = Channel(node.sock)
                directory, environ, on_death = node.directory, None, node.describe_death
                sweep_stale()
            else:
                found = find_session(address)
                _refuse_amounts(wishes, address)
                channel = Channel(open_socket(found))
                directory, environ = found.directory, dict(os.environ)

                def on_death() -> str:
                    return f"session {found.name!r} has ended"

            hello = make_hello(
                "driver",
                namespace=wishes.namespace,
                wants_logs=wishes.log_to_driver,
                env=env,
                sys_path=path,
                environ=environ,
                log_config=wishes.log_config,
            )
            welcome, arena_fd = greet(channel, hello, START_WITHIN_S, on_death)
            client = Client(channel, welcome, Arena.attach(arena_fd), ref_class, is_worker=False)
            session = cls(client, node, directory, path, list(wishes.extra.get("_extra_nodes", ())))
            session._show_output(is_wanted=wishes.log_to_driver)
            client.start()
        except BaseException:
            if channel is not None:
                channel.close()
            if node is not None:
                node.end(0.5)
            raise
        return session

    def watch(self, *, on_exit: Callable[[], None], on_fork: Callable[[], None]) -> None:
        from skate.engine.driver import exit as end

        end.watch(on_exit, on_fork)

    def _show_output(self, *, is_wanted: bool) -> None:
        from skate.engine.driver.log_printer import LogPrinter

        client = self.client
        if is_wanted:
            self._printer = LogPrinter()
            client.on_log = self._printer.show
        client.on_notice = show_notice
        with client.lock:
            client.pump.start_background()

    # ------------------------------------------------------------ the end

    def close(self) -> None:
        """Leave, and end the session if it is ours. Returns when nothing of it is left."""
        from skate.engine.driver import exit as end

        end.forget()
        self._interrupts.remove()
        client = self.client
        was_alive = not client.death
        rest = client.node.sock.dup() if was_alive else None
        client.close(ends_session=self.node is not None)
        if rest is not None:
            self._hear_last_words(rest)
        if self._printer is not None:
            self._printer.flush()
        if self.node is not None:
            self.node.end(_END_WITHIN_S)

    def _hear_last_words(self, sock: Any) -> None:
        """Until the node closes the connection: what the workers have printed is still to be shown."""
        import select
        import time

        from skate.engine.driver.connect import _decode
        from skate.engine.spec import messages as m
        from skate.engine.transport.channel import Channel, ChannelClosedError

        channel = Channel(sock)
        poller = select.poll()
        poller.register(channel.fd, select.POLLIN)
        # A session that goes on closes the connection at once, too: it has been told Goodbye.
        deadline_s = time.monotonic() + (_END_WITHIN_S if self.node is not None else 0.2)
        try:
            while (left_s := deadline_s - time.monotonic()) > 0:
                received = channel.receive_with_descriptors()
                if received is None:
                    poller.poll(left_s * 1000)
                    continue
                data, descriptors = received
                for descriptor in descriptors:
                    os.close(descriptor)
                message = _decode(data)
                if type(message) is m.LogLines and self._printer is not None:
                    self._printer.show(message)
        except ChannelClosedError:
            pass
        finally:
            channel.close()


def start_node(wishes: Wishes) -> NodeProcess:
    """Start this program's own node process; returns at once, `DriverSession.open` waits for it.

    Raises:
        RuntimeError: This system is not supported, or the process can't be started.
    """
    return spawn_node(node_settings(wishes), name=str(wishes.extra.get("_session_name", "")))


def node_settings(wishes: Wishes) -> dict[str, Any]:
    """The fields of `NodeConfig` that the user has given."""
    settings: dict[str, Any] = {
        "num_cpus": wishes.num_cpus, "num_gpus": wishes.num_gpus, "object_store_bytes": wishes.object_store_memory,
        "resources": dict(wishes.resources), "labels": dict(wishes.labels), "argv": list(sys.argv[:20]),
    }  # fmt: skip
    extra = wishes.extra
    for option, field in (
        ("_spill_dir", "spill_dir"), ("_spill_bytes_max", "spill_bytes_max"), ("_memory_limit_bytes", "memory_limit_bytes"),
        ("_idle_worker_timeout_s", "idle_worker_timeout_s"), ("_extra_nodes", "extra_nodes"), ("_preload", "preload"),
    ):  # fmt: skip
        if option in extra:
            settings[field] = extra[option]
    return {name: value for name, value in settings.items() if value is not None and value != {}}


def _refuse_amounts(wishes: Wishes, address: str) -> None:
    given = [name for name in ("num_cpus", "num_gpus", "resources", "labels", "object_store_memory") if getattr(wishes, name)]
    if given:
        raise ValueError(
            f"init(address={address!r}) joins a session whose resources are settled: leave out {', '.join(given)}, "
            "or give them to `skate start`"
        )


def show_notice(notice: Any) -> None:
    """Something the user should read."""
    try:
        sys.stderr.write(f"skate: {notice.level}: {notice.text}\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass
