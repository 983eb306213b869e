"""Fifty browsers' worth of live connections in one process: one is read with care, the others are drained.

`python -m bench._viewers PORT TOKEN VIEWERS SECONDS` prints one JSON line: how late each progress arrived, and the last one.
"""

from __future__ import annotations

import json
import selectors
import sys
import time
from typing import Any

from websocket import WebSocket, create_connection


def connect(port: int, token: str) -> WebSocket:
    """Open one live connection that watches the list of jobs, as a browser on the Jobs page does."""
    line = create_connection(f"ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket")
    line.recv()
    line.send("40/live," + json.dumps({"token": token}))
    assert str(line.recv()).startswith("40/live"), "the live connection was refused"
    line.send('42/live,["watch",{"rooms":["jobs"]}]')
    return line


class Seen:
    """What the careful viewer saw."""

    def __init__(self) -> None:
        self.late: list[float] = []
        self.versions: dict[str, int] = {}
        self.frames = 0

    def take(self, frame: str) -> None:
        """Note the progress of one frame; its message is the moment at which it was told."""
        if not frame.startswith('42/live,["progress"'):
            return
        now = time.time()
        self.frames += 1
        for one in json.loads(frame[8:])[1]:
            self.versions[one["job_id"]] = one["version"]
            self.late.append(now - float(one["message"]))


def watch(port: int, token: str, viewers: int, seconds: float) -> dict[str, Any]:
    """Listen for a while."""
    careful = connect(port, token)
    others = [connect(port, token) for _ in range(viewers - 1)]
    chosen = selectors.DefaultSelector()
    for line in (careful, *others):
        chosen.register(line.sock, selectors.EVENT_READ, line)
    seen, until = Seen(), time.monotonic() + seconds
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while time.monotonic() < until:
        for key, _ in chosen.select(0.1):
            if key.data is careful:
                frame = careful.recv()
                if frame == "2":
                    careful.send("3")
                else:
                    seen.take(str(frame))
            else:
                key.data.sock.recv(1_000_000)
    late = sorted(seen.late)
    return {
        "frames": seen.frames,
        "received": len(late),
        "p50_ms": late[len(late) // 2] * 1000,
        "p99_ms": late[int(len(late) * 0.99)] * 1000,
        "last_ms": seen.late[-1] * 1000,
        "versions": seen.versions,
    }


if __name__ == "__main__":
    port, token, viewers, seconds = sys.argv[1:]
    print(json.dumps(watch(int(port), token, int(viewers), float(seconds))))
