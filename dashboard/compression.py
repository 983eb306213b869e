"""Compression of answers, without telling secrets by their length.

Whoever can have a browser request pages with texts of their choice, and sees how long the answers are, learns secrets that
stand in the same compressed answer (BREACH). So an answer is compressed only when the browser says that the request comes
from Taskyard's own pages or from its user; and the token of forms, the one secret of every page, is masked anew in each
answer (`extensions.MaskedCsrf`). Live messages are never compressed.
"""

from __future__ import annotations

import gzip

from flask import Flask, Response, current_app, request

from dashboard.threads import run_in_thread

MIN_BYTES = 1_000  # what is smaller fits into one packet anyway
THREAD_BYTES = 32_000  # what is larger would hold up the event loop for more than a millisecond
LEVEL = 5
_TYPES = {"text/html", "text/plain", "text/css", "text/javascript", "application/json", "application/problem+json"}
_FROM_OURSELVES = {"same-origin", "none"}


def init(app: Flask) -> None:
    """Compress the answers of this application."""
    app.after_request(_compress)


def may_compress() -> bool:
    """Return whether the client of this request accepts gzip, and no other site has asked for it."""
    if not request.accept_encodings["gzip"]:
        return False
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in _FROM_OURSELVES
    # Browsers leave the header out over plain HTTP, where everything can be read anyway; programs send no cookie.
    return not request.is_secure or current_app.config["SESSION_COOKIE_NAME"] not in request.cookies


def compress(content: bytes) -> bytes:
    """Return the content after gzip; away from the event loop when it is large."""
    if len(content) > THREAD_BYTES:
        return run_in_thread(_gzip, content)
    return _gzip(content)


def _gzip(content: bytes) -> bytes:
    return gzip.compress(content, LEVEL, mtime=0)


def _compress(response: Response) -> Response:
    if response.is_streamed or response.direct_passthrough or response.mimetype not in _TYPES:
        return response
    if response.content_encoding is not None or response.get_etag()[0] is not None:
        return response  # a tag is that of the plain content
    if (response.content_length or 0) < MIN_BYTES:
        return response
    response.vary.add("Accept-Encoding")
    if may_compress():
        response.set_data(compress(response.get_data()))
        response.content_encoding = "gzip"
    return response
