"""The head of an HTTP/1.1 request, read strictly.

Whatever a proxy in front could understand differently is refused instead of guessed (RFC 9112, sections 2.2, 3, 5 and 6).
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import IO

from dashboard.http_problems import MAX_HEAD_BYTES, MAX_HEADERS, MAX_TARGET_BYTES, RequestRefused

_LINE_BYTES = MAX_TARGET_BYTES + 40  # with the method and the version
_METHOD_START = re.compile(rb"[A-Z]{1,20} ")
_REQUEST_LINE = re.compile(rb"([A-Z]{1,20}) ([\x21-\x7e]+) (HTTP/1\.[01])\r\n")
HEADER_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x20-\x7e\x80-\xff\t]*)\r\n")
_LENGTH = re.compile(r"[0-9]{1,18}")
_SINGLE = ("host", "content-length", "transfer-encoding", "content-type", "authorization", "expect", "upgrade")


@dataclass(frozen=True, slots=True)
class Head:
    """A request line and headers; names are in lower case."""

    method: str
    target: str
    version: str
    headers: tuple[tuple[str, str], ...]

    def get(self, name: str) -> str | None:
        """Return the first value of a header."""
        return next((value for key, value in self.headers if key == name), None)

    @property
    def content_length(self) -> int | None:
        """Return how long the body is, where the client says it."""
        value = self.get("content-length")
        return None if value is None else int(value)

    @property
    def is_chunked(self) -> bool:
        """Whether the body comes in chunks."""
        return self.get("transfer-encoding") is not None

    @property
    def has_body(self) -> bool:
        """Whether a body follows."""
        return self.is_chunked or bool(self.content_length)

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits for permission before it sends the body."""
        return self.version == "HTTP/1.1" and self.get("expect") is not None

    @property
    def wants_close(self) -> bool:
        """Whether the connection ends after the answer."""
        options = self._connection_options()
        return "close" in options or (self.version == "HTTP/1.0" and "keep-alive" not in options)

    @property
    def asks_for_websocket(self) -> bool:
        """Whether the client asks to go on with a WebSocket; a request with a body never does."""
        is_upgrade = "upgrade" in self._connection_options() and (self.get("upgrade") or "").lower() == "websocket"
        return self.method == "GET" and self.version == "HTTP/1.1" and is_upgrade and not self.has_body

    def _connection_options(self) -> set[str]:
        lines = (value for name, value in self.headers if name == "connection")
        return {word.strip(" \t").lower() for line in lines for word in line.split(",")}


def read_head(stream: IO[bytes]) -> Head | None:
    """Return the next head; None when the client has ended the connection. Raises RequestRefused."""
    line = stream.readline(_LINE_BYTES + 1)
    if line == b"\r\n":  # an empty line after the last body, as old clients send it
        line = stream.readline(_LINE_BYTES + 1)
    if not line.endswith(b"\n"):
        if len(line) <= _LINE_BYTES:
            return None
        raise RequestRefused(414 if _METHOD_START.match(line) else 400)
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise RequestRefused(400, "The request line is not valid HTTP/1.1.")
    method, target, version = (part.decode("ascii") for part in match.groups())
    if len(target) > MAX_TARGET_BYTES:
        raise RequestRefused(414)
    if not target.startswith("/") and (method, target) != ("OPTIONS", "*"):
        raise RequestRefused(400, "The request target must be a path that begins with /.")
    if "#" in target:
        raise RequestRefused(400, "The request target must not have a fragment (#).")
    headers = _read_headers(stream)
    if headers is None:
        return None
    head = Head(method, target, version, headers)
    _check_framing(head)
    return head


def _read_headers(stream: IO[bytes]) -> tuple[tuple[str, str], ...] | None:
    headers: list[tuple[str, str]] = []
    size = 0
    while True:
        line = stream.readline(MAX_HEAD_BYTES - size + 1)
        size += len(line)
        if size > MAX_HEAD_BYTES:
            raise RequestRefused(431)
        if line == b"\r\n":
            return tuple(headers)
        if not line.endswith(b"\n"):
            return None
        match = HEADER_LINE.fullmatch(line)
        if match is None:
            raise RequestRefused(400, "A header line is not valid: it needs a name, a colon, a value and CRLF.")
        if len(headers) == MAX_HEADERS:
            raise RequestRefused(431)
        headers.append((match[1].decode("ascii").lower(), match[2].decode("latin-1").strip(" \t")))


def _check_framing(head: Head) -> None:
    """Raise RequestRefused where the end of the message, or for whom it is, can be understood in two ways."""
    counts = Counter(name for name, _value in head.headers)
    repeated = next((name for name in _SINGLE if counts[name] > 1), None)
    if repeated:
        raise RequestRefused(400, f"The header {repeated.title()} is given more than once.")
    if not head.get("host") and head.version == "HTTP/1.1":
        raise RequestRefused(400, "The request must have exactly one Host header.")
    length, encoding = head.get("content-length"), head.get("transfer-encoding")
    if length is not None and encoding is not None:
        raise RequestRefused(400, "The request has both Content-Length and Transfer-Encoding. Send one of them.")
    if length is not None and not _LENGTH.fullmatch(length):
        raise RequestRefused(400, "Content-Length must be a whole number.")
    if encoding is not None and (encoding.lower() != "chunked" or head.version != "HTTP/1.1"):
        raise RequestRefused(400, "The only Transfer-Encoding that is supported is chunked, with HTTP/1.1.")
    expectation = head.get("expect")
    if head.version == "HTTP/1.1" and expectation is not None and expectation.lower() != "100-continue":
        raise RequestRefused(417)
