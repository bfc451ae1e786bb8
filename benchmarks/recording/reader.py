"""Reads the UI's WebSocket and throws away what comes, until killed: `python -m benchmarks.recording.reader URL`."""

import sys

from websockets.sync.client import connect

if __name__ == "__main__":
    origin, token = sys.argv[1].split("/?")[0].rstrip("/"), sys.argv[1].split("token=")[1]
    port = origin.rsplit(":", 1)[1]
    cookie = {"Cookie": f"skate_ui_{port}={token}"}
    with connect(f"ws://127.0.0.1:{port}/ws", origin=origin, additional_headers=cookie, max_size=None) as socket:  # type: ignore[arg-type]
        for _ in socket:
            pass
