"""HTTP that a user can aim: never at private or loopback addresses unless allowed, bounded in time and size.

The name is resolved once, the address is checked, and that very address is connected to, so that a name which changes its
mind between the check and the connection reaches nothing. Every redirect goes the same way.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import urljoin

import httpx

from workers.domain.errors import BadInput

MAX_REDIRECTS = 5
_REDIRECTS = {301, 302, 303, 307, 308}
_SECRETS = {"authorization", "cookie", "proxy-authorization"}


class Refused(BadInput):
    """This address must not be called."""


def check_address(text: str) -> None:
    """Refuse an address that is not on the open Internet. Raises Refused."""
    address = ipaddress.ip_address(text)
    inner = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None) or address
    if not inner.is_global or inner.is_multicast or inner.is_reserved or inner.is_unspecified:
        raise Refused(f"{text} is a private or loopback address. ALLOW_PRIVATE_HTTP=1 allows it.", field="url")


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


_refused: ContextVar[list[str] | None] = ContextVar("refused", default=None)
_resolve = socket.getaddrinfo


def _resolve_public(*args: Any, **options: Any) -> Any:
    found = _resolve(*args, **options)
    refused = _refused.get()
    if refused is None:
        return found
    for one in found:
        try:
            check_address(str(one[4][0]).partition("%")[0])
        except (Refused, ValueError) as error:
            refused.append(str(error))
            raise socket.gaierror(str(error)) from error
    return found


@contextmanager
def public_only() -> Iterator[list[str]]:
    """Let other libraries connect to public addresses only while this lasts, in this thread; lends what was refused.

    It stands where every library asks for addresses, so what was checked is what is connected to.
    """
    socket.getaddrinfo = _resolve_public  # stays; without a guard it changes nothing
    refused: list[str] = []
    token = _refused.set(refused)
    try:
        yield refused
    finally:
        _refused.reset(token)


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
    target, sent = httpx.URL(url), dict(headers or {})
    with httpx.Client(timeout=timeout_seconds, trust_env=False, follow_redirects=False) as client:
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
            if (following.scheme, following.host, following.port) != (target.scheme, target.host, target.port):
                sent = {name: value for name, value in sent.items() if name.lower() not in _SECRETS}
            if answer.status_code == 303 or (answer.status_code in {301, 302} and method == "POST"):
                method, content = "GET", None
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


def read_bounded(answer: httpx.Response, limit: int) -> tuple[bytes, bool]:
    """Read a body up to a bound; whether there was more."""
    body = bytearray()
    for chunk in answer.iter_bytes():
        body += chunk
        if len(body) > limit:
            return bytes(body[:limit]), True
    return bytes(body), False
