"""Which network addresses are public, and which URLs can be refused for where they lead before anything is resolved."""

from __future__ import annotations

import ipaddress
import re
import socket
import unicodedata
from urllib.parse import urlsplit

from workers.domain.errors import BadInput

LONGEST_URL = 2_000
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# IANA's special-purpose registries, spelled out: Python's `is_global` differs between versions about some of them.
_NOT_PUBLIC = tuple(
    map(
        ipaddress.ip_network,
        "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 192.31.196.0/24 "
        "192.52.193.0/24 192.88.99.0/24 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 "
        "224.0.0.0/4 240.0.0.0/4 2001::/23 2001:db8::/32 3fff::/20".split(),
    )
)
# Whatever lies outside of the block that IANA hands out is not a host on the Internet: loopback, link-local, unique local …
_ASSIGNED = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_ISATAP = {0x00005EFE, 0x02005EFE}
_NUMERIC = re.compile(r"[0-9a-fx.]+", re.IGNORECASE)
_LOCAL_NAMES = {"localhost", "localhost.localdomain", "localhost6", "ip6-localhost", "ip6-loopback"}
_NAME = re.compile(r"[\w\-]+(\.[\w\-]+)*")
# Dots of other scripts, which resolvers read as dots, and characters that they leave out.
_DOTS = {0x3002: ".", 0xFF0E: ".", 0xFF61: ".", 0x00AD: None, 0x200B: None, 0x2060: None, 0xFEFF: None}
_BROKEN = {"Cc", "Cf", "Cs", "Zs", "Zl", "Zp"}


class Refused(BadInput):
    """This address must not be called."""


def is_public(text: str) -> bool:
    """Return whether this is the literal address of a host on the open Internet."""
    try:
        address: _Address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        return False
    inner = _inner(address)
    if inner.version == 6 and (inner not in _ASSIGNED or _is_private_tunnel(int(inner))):
        return False
    return not any(inner.version == network.version and inner in network for network in _NOT_PUBLIC)


def check_address(text: str, field: str = "url") -> None:
    """Refuse an address that is not on the open Internet. Raises Refused."""
    if not is_public(text):
        raise Refused(f"{text} is a private or loopback address. ALLOW_PRIVATE_HTTP=1 allows it.", field=field)


def literal_address(host: str) -> str | None:
    """Return the address that a host is in itself, in any spelling that a resolver understands; None for a name."""
    name = _canonical(host)
    if name in _LOCAL_NAMES or name.endswith(".localhost"):
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        pass
    if not _NUMERIC.fullmatch(name):
        return None
    try:
        # 127.1, 0x7f000001, 017700000001 and 2130706433 are spellings of 127.0.0.1 to resolvers.
        return socket.inet_ntoa(socket.inet_aton(name))
    except OSError:
        return None


def check_url(url: str, *, allow_private: bool, field: str = "url", longest: int = LONGEST_URL) -> str:
    """Return an http(s) URL that may be called as far as can be known without resolving its name. Raises Refused."""
    if len(url) > longest:
        raise Refused(f"The address has {len(url):,} characters; at most {longest:,} are allowed.", field=field)
    if "\\" in url or any(unicodedata.category(letter) in _BROKEN for letter in url):
        raise Refused("The address holds a space, a backslash or a control character. Encode it as %20.", field=field)
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        raise Refused(f"This is not a valid address: {error}.", field=field) from error
    if parts.scheme not in {"http", "https"} or not host:
        raise Refused("The address must begin with http:// or https:// and name a host.", field=field)
    if "@" in parts.netloc:
        raise Refused("Send the name and password in headers, not in the address.", field=field)
    if ":" not in host and not _NAME.fullmatch(_canonical(host)):
        raise Refused(f"{host[:100]} is not the name of a host.", field=field)
    if not allow_private:
        check_host(host, field)
    return url


def check_host(host: str, field: str = "url") -> None:
    """Refuse a host that is a private address in itself; a name is checked when it is resolved. Raises Refused."""
    literal = literal_address(host)
    if literal is not None and not is_public(literal):
        message = f"{host[:100]} is a private or loopback address. ALLOW_PRIVATE_HTTP=1 allows it."
        raise Refused(message, field=field)


def _canonical(host: str) -> str:
    """Return a host as resolvers read it: full-width digits and other dots are plain ones, the last dot says nothing."""
    name = unicodedata.normalize("NFKC", host.translate(_DOTS)).translate(_DOTS)
    return name.strip().rstrip(".").strip("[]").lower()


def _inner(address: _Address) -> _Address:
    """Return the IPv4 address that an IPv6 address stands for, else the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _is_private_tunnel(number: int) -> bool:
    """Return whether an IPv6 address leads through ISATAP to an IPv4 address that is not public."""
    return (number >> 32) & 0xFFFFFFFF in _ISATAP and not is_public(str(ipaddress.IPv4Address(number & 0xFFFFFFFF)))
