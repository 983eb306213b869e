"""Regions that viewers share: a hundred people who look at the same page have it read and drawn once a second.

An answer is never older than the request: what has happened before it is in it. When something has happened since a region
was drawn, it is drawn again, a second after the last time; who asks earlier waits for that one drawing.
Viewers share what they see for the same address, regions, role, host and cookies (but for the session's).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import cached_property, wraps
from typing import Any, TypeVar, cast

import gevent
from flask import Flask, Response, current_app, g, make_response, request
from flask_login import current_user
from gevent.event import Event

from dashboard.compression import compress, may_compress
from dashboard.rendering import FRESH, REGION, region_names

F = TypeVar("F", bound=Callable[..., Any])
SHARED_SECONDS = 1.0
MAX_DRAWINGS = 300
MAX_COOKIES_CHARACTERS = 1_000
_SAFE = {"GET", "HEAD", "OPTIONS"}


class NotShared(Exception):
    """The answer is no region: it leads elsewhere."""


@dataclass(eq=False)
class Drawn:
    """A region as it was drawn once."""

    content: bytes

    @cached_property
    def compressed(self) -> bytes:
        """The content after gzip."""
        return compress(self.content)


@dataclass(eq=False)
class Drawing:
    """What was drawn last: from when on, after how many changes; while it is drawn, `ended` is not set."""

    started_at: float = float("-inf")
    generation: int = -1
    drawn: Drawn = field(default_factory=lambda: Drawn(b""))
    error: Exception | None = None
    ended: Event = field(default_factory=Event)

    def __post_init__(self) -> None:
        self.ended.set()


class SharedRegions:
    """The drawings of this process; `generation` counts what has happened that pages may show."""

    def __init__(self) -> None:
        self.generation = 0
        self.drawn = 0
        self._drawings: dict[Hashable, Drawing] = {}

    def note_change(self) -> None:
        """Note that something has happened."""
        self.generation += 1

    def get(self, key: Hashable, draw: Callable[[], bytes], *, is_fresh: bool = False) -> Drawn:
        """Return what `draw` has made after everything that had happened by now; `is_fresh` has it made at once.

        Raises what `draw` raises, to everybody who has waited for it.
        """
        arrived_at, wanted = time.monotonic(), self.generation
        drawing = self._drawing(key)
        while True:
            while not drawing.ended.is_set():  # another one that waited may have begun again
                drawing.ended.wait()
            now = time.monotonic()
            is_new = drawing.started_at >= arrived_at
            if is_new and drawing.error is not None:
                raise drawing.error
            is_young = now - drawing.started_at < SHARED_SECONDS and not is_fresh and drawing.error is None
            if is_new or (is_young and drawing.generation >= wanted):
                return drawing.drawn
            if is_young:
                gevent.sleep(drawing.started_at + SHARED_SECONDS - now)
                continue
            self._draw(drawing, draw)

    def _draw(self, drawing: Drawing, draw: Callable[[], bytes]) -> None:
        drawing.ended.clear()
        drawing.started_at, drawing.generation = time.monotonic(), self.generation
        drawing.error = None
        self.drawn += 1
        try:
            drawing.drawn = Drawn(draw())
        except Exception as error:
            drawing.error = error
        except BaseException:  # its greenlet is ended; the next one who waits draws
            drawing.started_at = float("-inf")
            raise
        finally:
            drawing.ended.set()

    def _drawing(self, key: Hashable) -> Drawing:
        if key in self._drawings:
            return self._drawings[key]
        old = time.monotonic() - 2 * SHARED_SECONDS
        for other, drawing in list(self._drawings.items()):
            if drawing.started_at < old and drawing.ended.is_set():
                del self._drawings[other]
        drawing = Drawing()
        if len(self._drawings) < MAX_DRAWINGS:
            self._drawings[key] = drawing
        return drawing


def shares_regions(view: F) -> F:
    """Let viewers share the regions of a page that depends on nothing of its viewer but the role and the cookies."""

    @wraps(view)
    def wrapped(*arguments: Any, **values: Any) -> Any:
        if REGION not in request.headers:
            return view(*arguments, **values)
        key = _key()
        if key is None:
            return view(*arguments, **values)
        g.is_shared = True

        def draw() -> bytes:
            answer = make_response(view(*arguments, **values))
            if answer.status_code != 200:
                raise NotShared
            return answer.get_data()

        try:
            return _answer(_shared().get(key, draw, is_fresh=FRESH in request.headers))
        except NotShared:
            return view(*arguments, **values)

    return cast(F, wrapped)


def _key() -> Hashable | None:
    """Name what this request may share; None when its cookies are too many to compare."""
    own = current_app.config["SESSION_COOKIE_NAME"]
    cookies = tuple(sorted((name, value) for name, value in request.cookies.items() if name != own))
    if sum(len(name) + len(value) for name, value in cookies) > MAX_COOKIES_CHARACTERS:
        return None
    return request.host_url, request.full_path, region_names(request.headers[REGION]), current_user.role, cookies


def _answer(drawn: Drawn) -> Response:
    is_compressed = may_compress()
    answer = Response(drawn.compressed if is_compressed else drawn.content, mimetype="text/html")
    answer.headers["Vary"] = f"{REGION}, Accept-Encoding"
    if is_compressed:
        answer.content_encoding = "gzip"
    return answer


def init(app: Flask) -> None:
    """Share regions among the viewers of this process."""
    shared = app.extensions["shared_regions"] = SharedRegions()

    def note_action(response: Response) -> Response:
        if request.method not in _SAFE:
            shared.note_change()
        return response

    app.after_request(note_action)


def _shared() -> SharedRegions:
    return cast(SharedRegions, current_app.extensions["shared_regions"])
