"""The outermost check of a request, before any code reads it: method, host, scheme, path, query and headers.

Whatever passes is text that can be decoded, shown and stored; what does not is answered with 400 here.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote_to_bytes

MAX_HOST_CHARACTERS = 255
MAX_PATH_BYTES = 2_000
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(
    rf"(?:(?P<name>{_LABEL}(?:\.{_LABEL})*\.?)|\[(?P<ipv6>[0-9A-Fa-f:.]+)\])(?::(?P<port>[0-9]{{1,5}}))?"
)
_METHOD = re.compile(r"[A-Z]{1,20}")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_BEYOND_LATIN_1 = re.compile(r"[^\x00-\xff]")

Environ = dict[str, Any]


class RequestCheck:
    """WSGI middleware that answers 400 to a request that cannot be read."""

    def __init__(self, application: Any) -> None:
        self._application = application

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        """Check a request, then hand it on."""
        fault = request_fault(environ)
        if fault is None:
            return self._application(environ, start_response)  # type: ignore[no-any-return]
        problem = {"type": "about:blank", "title": "Bad request", "status": 400, "detail": fault}
        body = json.dumps(problem).encode()
        headers = [
            ("Content-Type", "application/problem+json"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ]
        start_response("400 BAD REQUEST", headers)
        return [b"" if environ.get("REQUEST_METHOD") == "HEAD" else body]


def request_fault(environ: Environ) -> str | None:
    """Return why a request cannot be read; None when it can."""
    if not _METHOD.fullmatch(environ.get("REQUEST_METHOD", "")):
        return "The method must be 1 to 20 capital letters."
    if "HTTP_HOST" in environ and not is_host(environ["HTTP_HOST"]):
        return "The Host header must be a host name or an IP address, with a port or without."
    if environ.get("wsgi.url_scheme") not in {"http", "https"}:
        return "The scheme must be http or https."
    return _path_fault(environ.get("PATH_INFO", "")) or _query_fault(environ) or _header_fault(environ)


def is_host(text: str) -> bool:
    """Whether this is a host as a Host header holds it: a name, an IPv4 address or [IPv6], and a port if any."""
    match = _HOST.fullmatch(text) if len(text) <= MAX_HOST_CHARACTERS else None
    if match is None or int(match["port"] or 0) > 65_535:
        return False
    try:
        if match["ipv6"] is not None:
            ipaddress.IPv6Address(match["ipv6"])
        else:
            match["name"].encode("ascii").decode("idna")  # `xn--` must begin a name that can be decoded
    except ValueError:
        return False
    return True


def _path_fault(path: str) -> str | None:
    text = _decoded(path)
    if text is None or _CONTROL.search(text):
        return "The path must be UTF-8 without control characters, percent-encoded."
    if len(path) > MAX_PATH_BYTES:
        return f"The path is longer than {MAX_PATH_BYTES:,} bytes."
    return None


def _query_fault(environ: Environ) -> str | None:
    query = environ.get("QUERY_STRING", "")
    if _BEYOND_LATIN_1.search(query) or _decoded(unquote_to_bytes(query.encode("latin-1")).decode("latin-1")) is None:
        return "The query string must be UTF-8, percent-encoded."
    return None


def _header_fault(environ: Environ) -> str | None:
    for name, value in environ.items():
        is_header = name.startswith("HTTP_") or name in {"CONTENT_TYPE", "CONTENT_LENGTH"}
        if is_header and (not isinstance(value, str) or _CONTROL.search(value) or _BEYOND_LATIN_1.search(value)):
            return f"The header {name.removeprefix('HTTP_').replace('_', '-').title()} has a character that is not allowed."
    return None


def _decoded(text: str) -> str | None:
    """Return what WSGI carries as Latin-1 as the UTF-8 that it is; None when it is not."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return None
