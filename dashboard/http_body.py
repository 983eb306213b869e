"""The body of an HTTP request: framed strictly, bounded while it arrives, at a lowest rate.

The limit is the same for a body of a stated length and for one in chunks. Reading yields to other requests, also when
the client sends faster than it is read.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

import gevent

from dashboard.http_head import HEADER_LINE
from dashboard.http_problems import RequestRefused
from dashboard.slices import let_others_run

if TYPE_CHECKING:
    from dashboard.http_connections import Connection

DEFAULT_LIMIT = 64_000
IO_SECONDS = 30.0  # without a byte read or taken
LOWEST_BYTES_PER_SECOND = 4_096
LINE_SECONDS = 10.0  # for one line between chunks
YIELD_SECONDS = 0.001
_READ_BYTES = 65_536
_MAX_LINE_BYTES = 512  # of a chunk's size with its extensions
_MAX_TRAILER_BYTES = 8_192
_FREE_OVERHEAD_BYTES = 8_192  # of chunk lines, besides as much again as there is content

_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\x20-\x7e\x80-\xff\t]*)?\r\n")
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class BodyFault(OSError):
    """A body that cannot be read on; `refusal` is the answer, none when the client is gone."""

    def __init__(self, refusal: RequestRefused | None, detail: str = "") -> None:
        super().__init__(detail or str(refusal))
        self.refusal = refusal


class RequestBody:
    """What WSGI calls `wsgi.input`."""

    def __init__(
        self, rfile: IO[bytes], connection: Connection, *, length: int | None, is_chunked: bool, expects_continue: bool
    ) -> None:
        self.rfile = rfile
        self.limit = DEFAULT_LIMIT
        self.received = 0
        self.fault: BodyFault | None = None
        self._connection = connection
        self._length = length or 0
        self._is_chunked = is_chunked
        self._expects_continue = expects_continue
        self._chunk_left = 0
        self._overhead = 0
        self._is_complete = not is_chunked and not length
        self._started_at: float | None = None
        self._yielded_at = time.monotonic()

    @property
    def has_unread(self) -> bool:
        """Whether the client may still send more of this body."""
        return not self._is_complete

    def read(self, size: int | None = -1) -> bytes:
        """Return `size` bytes, fewer at the end only; everything without a size. Raises BodyFault."""
        wanted = self.limit + 1 if size is None or size < 0 else size
        pieces = []
        while wanted > 0 and (piece := self._read_some(wanted)):
            pieces.append(piece)
            wanted -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def readline(self, size: int | None = -1) -> bytes:
        """Return the next line. Raises BodyFault."""
        wanted = self.limit + 1 if size is None or size < 0 else size
        line = bytearray()
        while len(line) < wanted and not line.endswith(b"\n") and (byte := self._read_some(1)):
            line += byte
        return bytes(line)

    def readlines(self, _hint: int = -1) -> list[bytes]:
        """Return all lines. Raises BodyFault."""
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over the lines."""
        while line := self.readline():
            yield line

    def _read_some(self, wanted: int) -> bytes:
        if self.fault is not None:
            raise self.fault
        if self._is_complete or wanted <= 0:
            return b""
        self._connection.start_waiting()
        try:
            return self._receive(wanted)
        except RequestRefused as refused:
            self.fault = BodyFault(refused)
            raise self.fault from None
        except TimeoutError:
            self.fault = BodyFault(RequestRefused(408, "The request body arrived too slowly."))
            raise self.fault from None
        except BodyFault as fault:
            self.fault = fault
            raise
        except OSError as error:
            self.fault = BodyFault(None, str(error))
            raise self.fault from error
        finally:
            self._connection.stop_waiting()

    def _receive(self, wanted: int) -> bytes:
        self._begin()
        left = self._left_in_chunk() if self._is_chunked else self._length - self.received
        if not left:
            self._is_complete = True
            return b""
        data: bytes = self.rfile.read1(min(wanted, left, _READ_BYTES))  # type: ignore[attr-defined]
        if not data:
            raise BodyFault(None, "The client closed the connection before the end of the body.")
        self.received += len(data)
        self._check_progress()
        if self._is_chunked:
            self._chunk_left -= len(data)
            if not self._chunk_left and self.rfile.read(2) != b"\r\n":
                raise RequestRefused(400, "A chunk of the body is longer than its declared size.")
        elif self.received == self._length:
            self._is_complete = True
        return data

    def _begin(self) -> None:
        if self._length > self.limit:
            raise RequestRefused(413)
        if self._started_at is None:
            self._started_at = time.monotonic()
            if self._expects_continue:
                self._connection.socket.sendall(_CONTINUE)

    def _left_in_chunk(self) -> int:
        """Return how much of the current chunk is left, of the next one at its end; 0 after the last."""
        if self._chunk_left:
            return self._chunk_left
        line = self._read_line(_MAX_LINE_BYTES)
        match = _CHUNK_LINE.fullmatch(line)
        if match is None:
            raise RequestRefused(400, "The size of a chunk of the body is not valid.")
        self._overhead += len(line) + 2
        if self._overhead > _FREE_OVERHEAD_BYTES + self.received:
            raise RequestRefused(400, "The chunks of the body are too small.")
        self._chunk_left = int(match[1], 16)
        if self.received + self._chunk_left > self.limit:
            raise RequestRefused(413)
        if not self._chunk_left:
            self._read_trailers()
        return self._chunk_left

    def _read_trailers(self) -> None:
        left = _MAX_TRAILER_BYTES
        while (line := self._read_line(left)) != b"\r\n":
            left -= len(line)
            if left <= 0 or not HEADER_LINE.fullmatch(line):
                raise RequestRefused(400, "The trailers of the body are not valid.")

    def _read_line(self, limit: int) -> bytes:
        with gevent.Timeout(LINE_SECONDS, TimeoutError("A line between chunks did not arrive in time.")):
            return self.rfile.readline(limit)

    def _check_progress(self) -> None:
        now = time.monotonic()
        allowed = IO_SECONDS + self.received / LOWEST_BYTES_PER_SECOND
        if self._started_at is not None and now - self._started_at > allowed:
            raise TimeoutError
        if now - self._yielded_at > YIELD_SECONDS:
            let_others_run()
            self._yielded_at = time.monotonic()


def limit_body(environ: dict[str, Any], limit: int) -> None:
    """Set how large the body of a request may be, before anything reads it; without a server of ours nothing happens."""
    body = environ.get("taskyard.body")
    if isinstance(body, RequestBody):
        body.limit = limit
