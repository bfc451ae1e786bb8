"""A small key-value store of the session, kept by the node process. For bookkeeping, not for data: values go through one process.

Keys of a namespace do not mix with those of another.
"""

from __future__ import annotations

from skate.backends import current


def _internal_kv_initialized() -> bool:
    return current.peek() is not None


def _internal_kv_put(
    key: str | bytes, value: str | bytes, overwrite: bool = True, *, namespace: str | bytes | None = None
) -> bool:
    """Set a value. True when the key had one before."""
    backend = current.active()
    full = _full(key, namespace)
    if backend.kv_put(full, _bytes(value), overwrite=False):  # The node decides who was first: two may ask at once.
        return False
    if overwrite:
        backend.kv_put(full, _bytes(value), overwrite=True)
    return True


def _internal_kv_get(key: str | bytes, *, namespace: str | bytes | None = None) -> bytes | None:
    value: bytes | None = current.active().kv_get(_full(key, namespace))
    return value


def _internal_kv_exists(key: str | bytes, *, namespace: str | bytes | None = None) -> bool:
    return _internal_kv_get(key, namespace=namespace) is not None


def _internal_kv_del(key: str | bytes, *, del_by_prefix: bool = False, namespace: str | bytes | None = None) -> int:
    """Delete a key, or all that begin with it. How many there were."""
    backend = current.active()
    if not del_by_prefix:
        return int(backend.kv_del(_full(key, namespace)))
    return sum(backend.kv_del(found) for found in backend.kv_list(_full(key, namespace)))


def _internal_kv_list(prefix: str | bytes, *, namespace: str | bytes | None = None) -> list[bytes]:
    """The keys that begin with `prefix`."""
    skip = len(_full(b"", namespace))
    return [found[skip:] for found in current.active().kv_list(_full(prefix, namespace))]


def _full(key: str | bytes, namespace: str | bytes | None) -> bytes:
    return b"kv:" + (_bytes(namespace) if namespace is not None else b"") + b":" + _bytes(key)


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else bytes(text)
