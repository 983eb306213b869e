"""People who look at the Overview, without browsers: each has a live connection and reads regions again as its page would.

`python -m bench._dashboard_viewers ADDRESS SECONDS TOKEN...` opens one viewer for each token and prints how many readings
each second of all of them made, and the bytes of these.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from urllib.parse import urlsplit

from websocket import WebSocket, WebSocketTimeoutException, create_connection

GAP_SECONDS = 1.0  # as in static/js/regions.js
REGIONS = {"counts": {"health", "numbers", "queues"}, "changed": {"health", "running"}}


class Viewer(threading.Thread):
    """One person's page."""

    def __init__(self, host: str, token: str, until: float) -> None:
        super().__init__()
        self._host, self._until = host, until
        self._token = token
        self._line = self._open()
        self._calls = http.client.HTTPConnection(host, timeout=30)
        self._wanted: set[str] = set()
        self._read_at = 0.0
        self.readings = self.bytes = 0

    def _open(self) -> WebSocket:
        line = create_connection(f"ws://{self._host}/socket.io/?EIO=4&transport=websocket")
        line.recv()
        line.send("40/live," + json.dumps({"token": self._token}))
        assert str(line.recv()).startswith("40/live"), "the live connection was refused"
        line.send('42/live,["watch",{"rooms":["overview","alerts","status"]}]')
        line.settimeout(0.25)
        return line

    def run(self) -> None:
        """Look until the time is over."""
        while time.monotonic() < self._until:
            self._hear()
            if self._wanted and time.monotonic() - self._read_at >= GAP_SECONDS:
                self._read()
        self._line.close()

    def _hear(self) -> None:
        try:
            frame = str(self._line.recv())
        except WebSocketTimeoutException:
            return
        if frame == "2":
            self._line.send("3")
        for event, regions in REGIONS.items():
            if frame.startswith(f'42/live,["{event}"'):
                self._wanted |= regions

    def _read(self) -> None:
        self._read_at = time.monotonic()
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "text/html", "Accept-Encoding": "gzip"}
        self._calls.request("GET", "/", headers={**headers, "X-Region": ",".join(sorted(self._wanted))})
        self._wanted.clear()
        answer = self._calls.getresponse()
        body = answer.read()
        assert answer.status == 200, answer.status
        self.readings += 1
        self.bytes += len(body)


def main() -> None:
    """Look for some seconds."""
    address, seconds, *names = sys.argv[1:]
    until = time.monotonic() + float(seconds)
    viewers = [Viewer(urlsplit(address).netloc, name, until) for name in names]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for viewer in viewers:
        viewer.start()
    for viewer in viewers:
        viewer.join()
    readings = sum(viewer.readings for viewer in viewers)
    print(json.dumps({"readings": readings, "bytes": sum(viewer.bytes for viewer in viewers)}))


if __name__ == "__main__":
    main()
