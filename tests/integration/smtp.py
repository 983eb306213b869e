"""A mail server on loopback that keeps what it is given; it refuses recipients who are called `refused`.

With a certificate it offers STARTTLS, and takes a sign-in.
"""

from __future__ import annotations

import base64
import contextlib
import shutil
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest


class MailServer(socketserver.ThreadingTCPServer):
    """Listens on a port of its own; `mails` holds the data of each mail that was taken."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, certificate: Path | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Talk)
        self.mails: list[str] = []
        self.recipients: list[str] = []
        self.senders: list[str] = []
        self.lines: list[tuple[bool, str]] = []  # whether it came over TLS, and what was said
        self.context: ssl.SSLContext | None = None
        if certificate is not None:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(certificate)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"


class _Talk(socketserver.StreamRequestHandler):
    server: MailServer
    is_encrypted = False

    def handle(self) -> None:
        self._say("220 here")
        while line := self.rfile.readline():
            text = line.decode().strip()
            self.server.lines.append((self.is_encrypted, text))
            word = text.upper()
            if word.startswith("QUIT"):
                self._say("221 bye")
                return
            if not self._answer(word, text):
                return

    def _answer(self, word: str, text: str) -> bool:
        if word.startswith("EHLO"):
            self._say("250-here")
            if self.server.context is not None and not self.is_encrypted:
                self._say("250-STARTTLS")
            self._say("250 AUTH PLAIN")
        elif word == "STARTTLS" and self.server.context is not None:
            return self._start_tls(self.server.context)
        elif word.startswith("AUTH PLAIN"):
            self.server.lines.append((self.is_encrypted, base64.b64decode(text.split()[2]).decode()))
            self._say("235 welcome")
        elif word == "DATA":
            self._say("354 go on")
            self.server.mails.append(self._data())
            self._say("250 ok")
        else:
            self._envelope(word, text)
            self._say("550 nobody" if "<REFUSED@" in word else "250 ok")
        return True

    def _envelope(self, word: str, text: str) -> None:
        if word.startswith("RCPT TO:"):
            self.server.recipients.append(text[len("RCPT TO:") :].strip("<>"))
        elif word.startswith("MAIL FROM:"):
            self.server.senders.append(text[len("MAIL FROM:") :].split()[0].strip("<>"))

    def _start_tls(self, context: ssl.SSLContext) -> bool:
        self._say("220 go")
        try:
            self.request = context.wrap_socket(self.request, server_side=True)
        except OSError:
            return False  # the client does not trust us
        self.rfile = self.request.makefile("rb")
        self.is_encrypted = True
        return True

    def _data(self) -> str:
        lines = []
        for line in iter(self.rfile.readline, b""):
            if line.rstrip(b"\r\n") == b".":
                break
            lines.append(line.decode().removeprefix("."))
        return "".join(lines)

    def _say(self, words: str) -> None:
        self.request.sendall(f"{words}\r\n".encode())


@contextlib.contextmanager
def mail_server(certificate: Path | None = None) -> Iterator[MailServer]:
    """Run one until the block ends."""
    with MailServer(certificate) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def make_certificate(folder: Path, host: str) -> Path:
    """Make a key with a certificate for a host that it has signed itself, in one file."""
    program = shutil.which("openssl")
    if program is None:
        pytest.fail("The program openssl is missing; the tests of TLS need it.")
    key, certificate = folder / f"{host}.key", folder / f"{host}.crt"
    words = f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={host} -addext subjectAltName=DNS:{host}".split()
    subprocess.run(
        [cast(str, program), *words, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True
    )
    both = folder / f"{host}.pem"
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    return both
