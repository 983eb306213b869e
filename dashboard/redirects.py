"""Where a browser may be sent: to a path of this Taskyard and nowhere else."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

MAX_TARGET = 2_000
# Browsers drop tabs and line ends, and read a backslash as a slash.
_PATH = re.compile(r"/(?![/\\])[^\x00-\x20\\\x7f-\xa0\ud800-\udfff]*")
# What a path must not become when it is decoded.
_ODD = re.compile(r"^//|[\x00-\x1f\x7f\\]")


def local_path(target: str | None, default: str = "/") -> str:
    """Return the target when it is a path of this site, else the default."""
    if not target or len(target) > MAX_TARGET or not _is_path(target):
        return default
    try:
        parts = urlsplit(target)
    except ValueError:
        return default
    if parts.scheme or parts.netloc or parts.path.startswith("//"):
        return default
    return target


def _is_path(target: str) -> bool:
    """Return whether this is a path, both as it stands and as a proxy or a browser may decode it."""
    path = target.partition("?")[0].partition("#")[0]
    twice = unquote(unquote(path))
    return all((_PATH.fullmatch(target), not _ODD.search(unquote(path)), not _ODD.search(twice)))


def path_on_host(address: str | None, host: str, default: str = "/") -> str:
    """Return the path of an address such as a referrer when it leads to this host, else the default."""
    try:
        parts = urlsplit(address or "")
    except ValueError:
        return default
    if parts.netloc != host:
        return default
    query = f"?{parts.query}" if parts.query else ""
    return local_path(f"{parts.path}{query}", default)
