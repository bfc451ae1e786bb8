"""Joining a Ray cluster: the address, versions, what its workers need; each way to fail is one sentence."""

from __future__ import annotations

import os
import re
from typing import Any

from skate.backends.base import InitOptions

VERSION_MIN = (2, 60)
CONNECT_S = 5.0
_HOST_AND_PORT = re.compile(r"\[?[\w.:-]+\]?:\d{1,5}")


def is_ray_address(address: str) -> bool:
    """ "ray", "ray:host:6379", "host:6379"; also "ray://host:10001", which `connect` refuses with what to write instead."""
    return (
        address == "ray"
        or address.startswith("ray:")
        or (os.sep not in address and _HOST_AND_PORT.fullmatch(address) is not None)
    )


def import_ray() -> Any:
    """Raises ImportError or ConnectionError with what to install."""
    try:
        import ray
    except ImportError as error:
        if error.name not in (None, "ray"):
            raise
        raise ImportError("a Ray cluster needs Ray in this environment: pip install 'skate[ray]'") from None
    version = tuple(int(part) for part in re.findall(r"\d+", ray.__version__)[:2])
    if version < VERSION_MIN:
        raise ConnectionError(
            f"Ray {ray.__version__} is installed here, and Skate's backend needs {VERSION_MIN[0]}.{VERSION_MIN[1]} or later: "
            "pip install -U 'skate[ray]', on the cluster too"
        )
    return ray


def connect(options: InitOptions) -> dict[str, Any]:
    """Join the cluster at `options.address`; returns the runtime environment that the program's workers get.

    Raises:
        ConnectionError: There is no such cluster, or it does not fit.
        skate.exceptions.AuthenticationError: It refuses our token.
    """
    _use_token()
    ray = import_ray()
    address = options.address or "ray"
    given = address
    if address.startswith("ray://"):
        raise ConnectionError(
            f"address={given!r}: Skate does not speak Ray Client's protocol (ray://). Run the program on a node of the cluster or a machine that reaches "
            'them, with address="host:6379"; or send it there: ray job submit --working-dir . -- python program.py (docs/how-to/ray-clusters.md)'
        )
    if address == "ray":
        address = "auto"
    else:
        address = address.removeprefix("ray:")
    if ray.is_initialized():
        raise ConnectionError(
            "this process has called ray.init() itself: let skate.init(address=…) do it, or call ray.shutdown() first"
        )
    if address != "auto":
        _reach(address, given)
    if options.num_cpus is not None or options.num_gpus is not None or options.object_store_memory is not None:
        _warn_of_sizes(options)
    env = _runtime_env(options)
    config = options.extra.get("logging_config")
    if config is not None:
        config = ray.LoggingConfig(config.encoding, config.log_level, config.additional_log_standard_attrs)
        options = options._replace(extra={**options.extra, "logging_config": config})
    extra = {name: value for name, value in options.extra.items() if name in _PASSED_ON and value is not None}
    if "logging_level" not in extra:
        import logging

        extra["logging_level"] = logging.WARNING
    try:
        ray.init(
            address=address, namespace=options.namespace or None, runtime_env=env, log_to_driver=options.log_to_driver, **extra
        )
    except Exception as error:
        raise _explained(error, given, ray.__version__) from error
    return env


def _use_token() -> None:
    """Clusters of Ray 2.60 ask for a token by default, and programs send theirs only when told to; read when Ray is imported."""
    has_token = "RAY_AUTH_TOKEN" in os.environ or os.path.exists(
        os.environ.get("RAY_AUTH_TOKEN_PATH") or os.path.expanduser("~/.ray/auth_token")
    )
    if has_token:
        os.environ.setdefault("RAY_AUTH_MODE", "token")


_PASSED_ON = ("job_config", "logging_level", "logging_format", "logging_config", "_node_ip_address", "_redis_password")


# What a client of HTTP/2, which Ray's servers speak, says first: the preface and an empty SETTINGS frame (RFC 9113, 3.4). The server's answer begins with
# a SETTINGS frame of its own: 3 bytes of length, then the type, 4.
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


def _reach(host_and_port: str, given: str) -> None:
    """Ray itself tries for minutes where nobody listens, or where something else does."""
    import socket

    host, _, port = host_and_port.rpartition(":")
    if not port.isdigit():
        raise ConnectionError(
            f'address={given!r} is not an address of a Ray cluster: write "host:6379", or "ray" for this machine\'s'
        )
    try:
        connection = socket.create_connection((host.strip("[]") or "127.0.0.1", int(port)), timeout=CONNECT_S)
    except (OSError, OverflowError) as error:
        raise ConnectionError(
            f"address={given!r}: no Ray cluster answers at {host_and_port} ({error}). Is the head running (`ray start --head --port=6379`), "
            "and may this machine reach it?"
        ) from None
    with connection:
        try:
            connection.sendall(_HELLO)
            answer = connection.recv(9)
        except OSError as error:
            raise ConnectionError(
                f"address={given!r}: {host_and_port} takes connections and says nothing ({error}): the cluster's head hangs, or another program listens there"
            ) from None
    if answer[3:4] != b"\x04":
        raise ConnectionError(
            f"address={given!r}: what answers at {host_and_port} is not a Ray cluster's head: give the port of `ray start --head --port=…` (6379 as a rule)"
        )


def _warn_of_sizes(options: InitOptions) -> None:
    import warnings

    warnings.warn(
        "init(): num_cpus, num_gpus and object_store_memory are those of the cluster's nodes: given to `ray start`, ignored here",
        stacklevel=6,
    )


def _runtime_env(options: InitOptions) -> dict[str, Any]:
    """The user's, with Skate itself: the cluster runs the very version that this program has, also an editable one."""
    env = dict(options.runtime_env)
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    env["py_modules"] = [*env.get("py_modules", ()), package]
    return env


def _explained(error: Exception, address: str, version: str) -> Exception:
    from skate import exceptions as x

    told: list[str] = []
    one: BaseException | None = error
    while one is not None:
        told.append(str(one))
        one = one.__cause__ or one.__context__
    text = " · ".join(told)
    low = text.lower()
    if "authentication" in low or "unauthenticated" in low or "invalid auth" in low or "token" in low:
        return x.AuthenticationError(
            f"address={address!r}: the cluster refuses this program's token: set RAY_AUTH_TOKEN, or put the cluster's token into "
            f"~/.ray/auth_token (Ray says: {_short(text)})"
        )
    if "version mismatch" in low or "version_info" in low or ("python" in low and "version" in low):
        return ConnectionError(
            f"address={address!r}: the versions differ; here Ray {version} and Python {_python()}: use the cluster's (Ray says: {_short(text)})"
        )
    if isinstance(error, ConnectionError) or "could not find any running ray instance" in low:
        return ConnectionError(
            f"address={address!r}: there is no Ray cluster on this machine, or none that answers: `ray start --head` starts one, "
            f'"host:6379" names one elsewhere (Ray says: {_short(text)})'
        )
    return ConnectionError(f"address={address!r}: Ray could not join the cluster: {_short(text)}")


def _python() -> str:
    import platform

    return platform.python_version()


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 300 else f"{line[:300]}…"
