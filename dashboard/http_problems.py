"""Answers that the HTTP server writes itself: problems (RFC 9457) that end the connection."""

from __future__ import annotations

import json

MAX_HEAD_BYTES = 16_384  # of header lines
MAX_HEADERS = 100
MAX_TARGET_BYTES = 8_000

_PROBLEMS = {
    400: ("Bad Request", "Bad request", "The request is not valid HTTP/1.1."),
    408: ("Request Timeout", "Request timeout", "The request did not arrive in time. Send it again."),
    413: ("Content Too Large", "Too large", "The request body is larger than the limit of this address."),
    414: ("URI Too Long", "Address too long", f"The address is longer than {MAX_TARGET_BYTES:,} bytes."),
    417: ("Expectation Failed", "Expectation failed", "The only expectation that is supported is 100-continue."),
    431: (
        "Request Header Fields Too Large",
        "Headers too large",
        f"The request has more than {MAX_HEADERS} headers or {MAX_HEAD_BYTES:,} bytes of headers.",
    ),
    500: (
        "Internal Server Error",
        "Internal error",
        "An unexpected error occurred. The log of the web process has the details.",
    ),
    503: (
        "Service Unavailable",
        "Too many connections",
        "The server has reached its connection limit, in total or for this address. Try again in a moment.",
    ),
}


class RequestRefused(ValueError):
    """A request that is not read any further; `status` is the answer."""

    def __init__(self, status: int, detail: str = "") -> None:
        super().__init__(detail or _PROBLEMS[status][2])
        self.status = status


def problem_response(status: int, detail: str = "", *, has_body: bool = True) -> bytes:
    """Return a whole HTTP response with a problem; it closes the connection."""
    reason, title, default = _PROBLEMS[status]
    body = json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail or default}).encode()
    lines = [
        f"HTTP/1.1 {status} {reason}",
        "Content-Type: application/problem+json",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        *(["Retry-After: 5"] if status == 503 else []),
        "Connection: close",
    ]
    head = "\r\n".join(lines).encode() + b"\r\n\r\n"
    return head + body if has_body else head
