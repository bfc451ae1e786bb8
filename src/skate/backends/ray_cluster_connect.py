"""Join an existing Ray cluster: checked beforehand, so that a mistake is one sentence within seconds."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from typing import Any

from skate.backends.base import InitOptions
from skate.backends.environments import merge

_ANSWERS_WITHIN_S = 3.0
_LEAST = (2, 60)


def connect(options: InitOptions, address: str) -> Any:
    """`ray.init` for this program; returns the module.

    Raises:
        ImportError: Ray is not installed.
        RuntimeError: Its version, or that of Python, does not fit.
        ConnectionError: There is no cluster at the address, or it refuses us.
    """
    ray = _import_ray()
    if ray.is_initialized():
        raise RuntimeError("this process is connected to a Ray cluster already, by ray.init(): call ray.shutdown() first")
    target = "auto" if address == "ray" else address.removeprefix("ray:") if not address.startswith("ray://") else address
    if target == "auto":
        target = _find_cluster()
    _check_reachable(target)
    try:
        ray.init(
            target, namespace=options.namespace or None, log_to_driver=options.log_to_driver, logging_level=logging.ERROR,
            runtime_env=_environment(options.runtime_env), configure_logging=False,
        )  # fmt: skip
    except Exception as error:
        raise _explain(error, target) from error
    return ray


def _import_ray() -> Any:
    try:
        import ray
    except ImportError:
        raise ImportError(
            "an address of a Ray cluster needs Ray, which is not installed: pip install 'skate[ray]' (Ray 2.60 or later)"
        ) from None
    version = tuple(int(part) for part in ray.__version__.split(".")[:2])
    if version < _LEAST:
        raise RuntimeError(f"Ray {ray.__version__} is installed, and skate needs 2.60 or later: pip install -U 'skate[ray]'")
    return ray


def _find_cluster() -> str:
    from ray._private.services import canonicalize_bootstrap_address

    try:
        found = canonicalize_bootstrap_address("auto")
    except Exception:
        found = None
    if not found:
        raise ConnectionError(
            'no Ray cluster runs on this machine: start one with `ray start --head`, or give its address, "ray:host:6379"'
        )
    return str(found)


def _check_reachable(target: str) -> None:
    host, _, port = target.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise ConnectionError(
            f'{target!r} is not an address of a Ray cluster: write "ray" (this machine\'s), "ray:host:6379", or "ray://host:10001"'
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWERS_WITHIN_S).close()
    except OSError as error:
        raise ConnectionError(
            f"no Ray cluster answers at {host}:{port} ({error}): is its head running (`ray status`), and is the port right? "
            "6379 is the head's, 10001 that of ray:// clients"
        ) from None


def _environment(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The program's environment, with Skate itself in it: installed in editable mode or not, the workers get this very copy."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    env = merge({}, wanted)
    env["py_modules"] = [*(env.get("py_modules") or []), package]
    return env


def _explain(error: Exception, target: str) -> Exception:
    text = str(error).strip()
    first = text.splitlines()[0] if text else type(error).__name__
    low = text.lower()
    if "version mismatch" in low or ("version" in low and "python" in low):
        return RuntimeError(f"the cluster at {target} runs another version of Ray or Python than this program: {text}")
    if "auth" in low or "token" in low:
        from skate.exceptions import AuthenticationError

        return AuthenticationError(
            f"the Ray cluster at {target} did not accept this program's token: set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH, to the cluster's "
            f"(`ray get-auth-token` there); Ray says: {first}"
        )
    return ConnectionError(f"can't join the Ray cluster at {target}: {type(error).__name__}: {first}")
