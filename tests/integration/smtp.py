"""A mail server on loopback that keeps what it is given; it refuses recipients who are called `refused`."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from collections.abc import Iterator


class MailServer(socketserver.ThreadingTCPServer):
    """Listens on a port of its own; `mails` holds the data of each mail that was taken."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Talk)
        self.mails: list[str] = []

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.server_address[1]}"


class _Talk(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        self._say("220 here")
        for line in self.rfile:
            word = line.decode().strip().upper()
            if word.startswith("QUIT"):
                self._say("221 bye")
                return
            if word == "DATA":
                self._say("354 go on")
                self.server.mails.append(self._data())
            self._say("550 nobody" if "<REFUSED@" in word else "250 ok")

    def _data(self) -> str:
        lines = []
        for line in self.rfile:
            if line.rstrip(b"\r\n") == b".":
                break
            lines.append(line.decode())
        return "".join(lines)

    def _say(self, words: str) -> None:
        self.wfile.write(f"{words}\r\n".encode())


@contextlib.contextmanager
def mail_server() -> Iterator[MailServer]:
    """Run one until the block ends."""
    with MailServer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
