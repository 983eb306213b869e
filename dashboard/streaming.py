"""Answers that are made while they are sent: exports and logs, a slice at a time, and only so many at once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from flask import Response, current_app, request
from flask_login import current_user

from workers.domain.errors import TooManyAtOnce

MAX_STREAMS = 4
MAX_STREAMS_OF_CALLER = 2
RETRY_SECONDS = 10
# A client that takes less than this is cut off: it holds one of few places.
GRACE_SECONDS = 30.0
LOWEST_CHARACTERS_PER_SECOND = 20_000


class Streams:
    """The streams that are open in this process, in total and by user or token."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._open.total()

    def take(self, caller: str) -> None:
        """Take a place. Raises TooManyAtOnce."""
        if self._open[caller] >= MAX_STREAMS_OF_CALLER:
            message = f"You have {MAX_STREAMS_OF_CALLER} exports in progress. Wait until one ends, then try again."
            raise TooManyAtOnce(message, RETRY_SECONDS)
        if self._open.total() >= MAX_STREAMS:
            message = f"The server has reached its limit of {MAX_STREAMS} exports in progress. Try again in a moment."
            raise TooManyAtOnce(message, RETRY_SECONDS)
        self._open[caller] += 1

    def give_back(self, caller: str) -> None:
        """Give a place back."""
        self._open[caller] -= 1
        if self._open[caller] <= 0:
            del self._open[caller]


class Stream:
    """The body of one answer; it holds its place until it ends or is closed, and breaks off for a client that reads too slowly."""

    def __init__(self, slices: Iterator[str], streams: Streams, caller: str) -> None:
        streams.take(caller)
        self._slices, self._streams, self._caller = slices, streams, caller
        self._is_open = True
        self._sent = 0
        self._waited = 0.0
        self._sent_at: float | None = None

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._sent_at is not None:
            self._waited += time.monotonic() - self._sent_at
            if self._waited > GRACE_SECONDS + self._sent / LOWEST_CHARACTERS_PER_SECOND:
                raise ConnectionAbortedError("The client read too slowly.")
        try:
            text = next(self._slices)
        except StopIteration:
            self.close()
            raise
        self._sent += len(text)
        self._sent_at = time.monotonic()
        return text

    def close(self) -> None:
        """End the stream, complete or not."""
        if self._is_open:
            self._is_open = False
            self._streams.give_back(self._caller)
            close = getattr(self._slices, "close", None)
            if close is not None:
                close()


def stream(slices: Iterator[str], mimetype: str, filename: str) -> Response:
    """Answer a file that is made while it is sent; HEAD starts nothing. Raises TooManyAtOnce."""
    body: Any = []
    if request.method != "HEAD":
        caller = f"{type(current_user._get_current_object()).__name__} {current_user.id}"
        body = Stream(slices, current_app.extensions["streams"], caller)
    answer = Response(body, mimetype=mimetype)
    answer.headers["Content-Disposition"] = f"attachment; filename={filename}"
    return answer
