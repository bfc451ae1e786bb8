"""Alias of `skate.util.rpdb`, as in Ray."""

from skate.util.rpdb import post_mortem, set_trace

__all__ = ["post_mortem", "set_trace"]
