"""Runs cells in a new IPython kernel: JSON on stdin (a list of cells) and on stdout (for each the data of its last line, and all it printed or raised).

A process of its own: jupyter_client leaves an event loop behind.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from jupyter_client.manager import start_new_kernel


def run_cell(client: Any, code: str) -> tuple[dict[str, Any], str]:
    request = client.execute(code)
    data: dict[str, Any] = {}
    text = ""
    while True:
        message = client.get_iopub_msg(timeout=30)
        if message["parent_header"].get("msg_id") != request:
            continue
        content = message["content"]
        match message["msg_type"]:
            case "execute_result":
                data = content["data"]
            case "stream":
                text += content["text"]
            case "error":
                text += "\n".join(content["traceback"])
            case "status" if content["execution_state"] == "idle":
                return data, text


if __name__ == "__main__":
    cells = json.load(sys.stdin)
    kernels, client = start_new_kernel(kernel_name="python3", startup_timeout=30)
    try:
        json.dump([run_cell(client, cell) for cell in cells], sys.stdout)
    finally:
        client.stop_channels()
        kernels.shutdown_kernel(now=True)
