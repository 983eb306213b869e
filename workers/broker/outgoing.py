"""HTTP that users can aim: checked where the connection is made, bounded in time and size.

The name is resolved once, every address that it stands for is checked, and those very addresses are connected to, so that
a name which changes its mind between the check and the connection reaches nothing. Every redirect goes the same way. The
check belongs to the connections of these calls alone: nothing else in the process is restricted.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import httpcore
import httpx

from workers.broker.connecting import CheckedBackend, Deadline, Resolver, lookup, tls_context
from workers.domain.addresses import LONGEST_URL, Refused, check_address, check_url
from workers.domain.http_headers import check_headers, without_framing

__all__ = ["Refused", "check_address", "iter_decoded", "read_bounded", "stream"]

MAX_REDIRECTS = 5
MAX_HEADERS = 200
# Addresses that a server redirects to carry signatures and are longer than what people type.
LONGEST_REDIRECT = 8_000
_PIECE = 1 << 16
_REDIRECTS = {301, 302, 303, 307, 308}
# What may be sent on to another host; any other header may carry a credential, whatever its name.
_NEUTRAL = {"accept", "accept-encoding", "accept-language", "user-agent"}
_OF_BODY = {"content-type", "content-encoding", "content-language"}
_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


@dataclass(frozen=True, slots=True)
class _Call:
    method: str
    url: httpx.URL
    headers: Mapping[str, str]
    content: bytes | None


@contextmanager
def stream(
    method: str,
    url: str,
    *,
    allow_private: bool,
    timeout_seconds: float = 30.0,
    total_seconds: float | None = None,
    headers: Mapping[str, str] | None = None,
    content: bytes | None = None,
    resolver: Resolver = lookup,
    network: httpcore.NetworkBackend | None = None,
) -> Iterator[httpx.Response]:
    """Make a call and lend its answer unread; redirects are followed, five at most. Raises Refused, httpx.HTTPError.

    `timeout_seconds` bounds each silence of the server, `total_seconds` (the same unless given) everything together:
    redirects, headers and body.
    """
    deadline = Deadline(timeout_seconds if total_seconds is None else total_seconds)
    backend = CheckedBackend(deadline, resolver, network or httpcore.SyncBackend(), allow_private=allow_private)
    # A body that is small on the wire and huge when it is unpacked would only cost.
    sent = {"accept-encoding": "identity", **without_framing(check_headers(headers or {}))}
    call = _Call(method, _checked(url, allow_private), sent, content)
    with httpx.Client(transport=_Transport(backend), timeout=timeout_seconds, trust_env=False) as client:
        for _ in range(MAX_REDIRECTS + 1):
            request = client.build_request(call.method, call.url, headers=call.headers, content=call.content)
            answer = client.send(request, stream=True, follow_redirects=False)
            try:
                if len(answer.headers.raw) > MAX_HEADERS:
                    raise httpx.RemoteProtocolError(f"The answer has more than {MAX_HEADERS} headers.")
                location = answer.headers.get("location")
                if answer.status_code not in _REDIRECTS or not location:
                    yield answer
                    return
            finally:
                answer.close()
            following = _following(call, answer.status_code, location, allow_private)
            if not _is_same_place(call.url, following.url):
                client.cookies.clear()
            call = following
    raise httpx.TooManyRedirects(f"More than {MAX_REDIRECTS} redirects.")


def iter_decoded(answer: httpx.Response) -> Iterator[bytes]:
    """Read a body in pieces of at most 64 KiB, unpacked. Raises httpx.DecodingError for what cannot be unpacked.

    httpx itself would unpack what it has read at once, and layer by layer: 64 KiB can stand for gigabytes.
    """
    encoding = answer.headers.get("content-encoding", "").strip().lower()
    if encoding in {"", "identity"}:
        yield from answer.iter_raw()
        return
    if encoding not in _WINDOW_BITS:
        raise httpx.DecodingError(f"The answer is encoded as {encoding[:40]!r}; only gzip and deflate are unpacked.")
    decoder = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        for packed in answer.iter_raw():
            while packed and not decoder.eof:
                if piece := decoder.decompress(packed, _PIECE):
                    yield piece
                packed = decoder.unconsumed_tail
    except zlib.error as error:
        raise httpx.DecodingError(f"The answer cannot be unpacked: {error}.") from error


def read_bounded(answer: httpx.Response, limit: int) -> tuple[bytes, bool]:
    """Read a body up to a bound; whether there was more. Raises httpx.HTTPError."""
    body = bytearray()
    for piece in iter_decoded(answer):
        body += piece
        if len(body) > limit:
            return bytes(body[:limit]), True
    return bytes(body), False


class _Transport(httpx.HTTPTransport):
    """The transport of httpx over connections of ours: no proxy, no reuse beyond one call."""

    def __init__(self, backend: httpcore.NetworkBackend) -> None:
        super().__init__(verify=tls_context(), trust_env=False)
        self._pool = httpcore.ConnectionPool(
            ssl_context=tls_context(), max_connections=1, http1=True, http2=False, network_backend=backend
        )


def _checked(url: str, allow_private: bool, longest: int = LONGEST_URL) -> httpx.URL:
    try:
        # Checked as it was written and as it is called: the two readers need not agree.
        target = httpx.URL(check_url(url, allow_private=allow_private, longest=longest))
        check_url(str(target), allow_private=allow_private, longest=3 * longest)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise Refused(f"This is not a valid address: {error}.", field="url") from error
    return target


def _following(call: _Call, status: int, location: str, allow_private: bool) -> _Call:
    """Return the call that a redirect asks for. To another host go no body and no header that may be a credential."""
    try:
        joined = str(call.url.join(location))
    except (httpx.InvalidURL, UnicodeError, ValueError) as error:
        raise Refused(f"The address redirects to an invalid address: {error}.", field="url") from error
    following = replace(call, url=_checked(joined, allow_private, LONGEST_REDIRECT))
    is_get = status == 303 or (status in {301, 302} and call.method == "POST")
    if is_get and call.method != "HEAD":
        following = replace(following, method="GET", content=None, headers=_only_without(call.headers, _OF_BODY))
    if _is_same_place(call.url, following.url):
        return following
    if following.method not in {"GET", "HEAD"} or following.content is not None:
        raise Refused(
            f"The address redirects the {following.method} to another host, {following.url.host}. Use that address directly.",
            field="url",
        )
    return replace(following, headers={name: following.headers[name] for name in following.headers if name in _NEUTRAL})


def _only_without(headers: Mapping[str, str], names: set[str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in names}


def _is_same_place(url: httpx.URL, other: httpx.URL) -> bool:
    """Return whether a redirect stays on the same host and port; from http to https of the same host counts as staying."""
    if url.host != other.host:
        return False
    is_upgrade = (url.scheme, other.scheme) == ("http", "https") and url.port is None and other.port is None
    return is_upgrade or (url.scheme, url.port) == (other.scheme, other.port)
