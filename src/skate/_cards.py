"""Cards for notebooks: what a session, a ref and an actor look like as the last line of a cell. Everything of the user's is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from skate.backends import current

_STYLE = "border:1px solid #8884;border-radius:6px;padding:8px 12px;display:inline-block;font:13px system-ui,sans-serif;line-height:1.5"


def card(title: str, rows: Mapping[str, Any]) -> str:
    """A small table under a title."""
    cells = "".join(
        f'<tr><td style="opacity:.65;text-align:left;padding:0 12px 0 0">{escape(str(name))}</td><td style="text-align:left;padding:0">{escape(str(value))}</td></tr>'
        for name, value in rows.items()
    )
    return f'<div style="{_STYLE}"><b>{escape(title)}</b><table style="border:0;margin:2px 0 0">{cells}</table></div>'


def session_card(information: Mapping[str, Any]) -> str:
    """Of `skate.init()`."""
    backend = current.peek()
    if backend is None:
        return card("skate session", {"state": "ended"})
    total, free = backend.cluster_resources(), backend.available_resources()
    rows: dict[str, Any] = {"session": information.get("session_name") or information.get("address") or backend.name}
    rows |= {name: f"{free.get(name, 0):g} of {total[name]:g} free" for name in ("CPU", "GPU") if name in total}
    rows["look at it"] = "skate ui · skate top"
    return card("skate session", rows)


def ref_card(ref: Any) -> str:
    """Of an ObjectRef; never waits."""
    state = "its session has ended"
    backend = current.peek()
    if backend is not None:
        try:
            ready, _ = backend.wait([ref], 1, 0, fetch_local=False)
            state = "ready" if ready else "not there yet"
        except Exception as error:  # A foreign ref: that is what is to be told.
            state = str(error)
    value = ref.hex()
    return card("ObjectRef", {"state": state, "made by": f"task {int(value[8:16], 16)}-{int(value[16:32], 16)}", "id": value})


def actor_card(class_name: str, actor_id: str) -> str:
    """Of an actor's handle."""
    rows: dict[str, Any] = {"id": actor_id}
    backend = current.peek()
    if backend is not None:
        for actor in backend.query("actors", {}) or []:
            if actor.get("actor_id") == actor_id:
                rows = {
                    "state": actor.get("state"),
                    "process": actor.get("pid"),
                    "restarts": actor.get("num_restarts") or 0,
                    "name": actor.get("name") or "-",
                    **rows,
                }
    return card(f"actor {class_name}", rows)
