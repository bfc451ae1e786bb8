"""Alias of `skate.state`."""

from skate.state import *  # noqa: F403
