"""HTTP that a user can aim: never at private or loopback addresses unless allowed, bounded in time and size.

The name is resolved once, the address is checked, and that very address is connected to, so that a name which changes its
mind between the check and the connection reaches nothing. Every redirect goes the same way.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any
from urllib.parse import urljoin

import httpx

from workers.broker.connect_guard import public_only
from workers.domain.addresses import Refused, check_address, check_url

__all__ = ["Refused", "check_address", "public_only", "read_bounded", "resolve", "stream"]

MAX_REDIRECTS = 5
_REDIRECTS = {301, 302, 303, 307, 308}
# What may be sent on to another host; any other header may carry a credential, whatever its name.
_NEUTRAL = {"accept", "accept-encoding", "accept-language", "content-type", "user-agent"}
_READ_SECONDS = 120.0


def resolve(url: httpx.URL, *, allow_private: bool) -> str:
    """Tell the address that a URL's host stands for, checked. Raises Refused, and httpx.ConnectError for no such host."""
    if url.scheme not in {"http", "https"} or not url.host:
        raise Refused("Only http and https addresses can be called.", field="url")
    if url.userinfo:
        raise Refused("Put name and password into headers, not into the address.", field="url")
    try:
        found = socket.getaddrinfo(url.host, url.port or 443, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpx.ConnectError(f"There is no host {url.host}.") from error
    addresses = [str(one[4][0]) for one in found]
    if not allow_private:
        for address in addresses:
            check_address(address.partition("%")[0])
    return addresses[0]


@contextmanager
def stream(
    method: str,
    url: str,
    *,
    allow_private: bool,
    timeout_seconds: float = 30.0,
    headers: Mapping[str, str] | None = None,
    content: bytes | None = None,
) -> Iterator[httpx.Response]:
    """Make a call and lend its answer unread; redirects are followed, five at most. Raises Refused, httpx.HTTPError."""
    target, sent = httpx.URL(check_url(url, allow_private=allow_private)), dict(headers or {})
    # A body that is small on the wire and huge when it is unpacked would only cost.
    sent.setdefault("Accept-Encoding", "identity")
    guard = nullcontext() if allow_private else public_only()
    with guard, httpx.Client(timeout=timeout_seconds, trust_env=False, follow_redirects=False) as client:
        for _ in range(MAX_REDIRECTS + 1):
            answer = client.send(_request(client, method, target, sent, content, allow_private), stream=True)
            try:
                location = answer.headers.get("location")
                if answer.status_code not in _REDIRECTS or not location:
                    yield answer
                    return
            finally:
                answer.close()
            following = httpx.URL(urljoin(str(target), location))
            if answer.status_code == 303 or (answer.status_code in {301, 302} and method == "POST"):
                method, content = "GET", None
            if (following.scheme, following.host, following.port) != (target.scheme, target.host, target.port):
                sent = {name: value for name, value in sent.items() if name.lower() in _NEUTRAL}
                if content is not None:
                    raise Refused("The address redirects the request with its body to another host.", field="url")
            target = following
    raise httpx.TooManyRedirects(f"More than {MAX_REDIRECTS} redirects.")


def _request(
    client: httpx.Client, method: str, url: httpx.URL, headers: Mapping[str, str], content: Any, allow_private: bool
) -> httpx.Request:
    address = resolve(url, allow_private=allow_private)
    host = url.netloc.decode()
    return client.build_request(
        method,
        url.copy_with(host=address),
        headers={**{name: value for name, value in headers.items() if name.lower() != "host"}, "Host": host},
        content=content,
        extensions={"sni_hostname": url.host},
    )


def read_bounded(answer: httpx.Response, limit: int, within_seconds: float = _READ_SECONDS) -> tuple[bytes, bool]:
    """Read a body up to a bound; whether there was more. Raises httpx.ReadTimeout for one that only trickles."""
    body = bytearray()
    until = time.monotonic() + within_seconds
    for chunk in answer.iter_bytes():
        if time.monotonic() > until:
            raise httpx.ReadTimeout(f"The answer was not complete after {within_seconds:.0f} s.")
        body += chunk
        if len(body) > limit:
            return bytes(body[:limit]), True
    return bytes(body), False
