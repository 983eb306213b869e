"""The address of Redis in REDIS_URL: which forms can be used, and what to write instead of the others."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, unquote, urlsplit

from workers.domain.errors import SettingsError

SCHEMES = ("redis", "rediss", "unix")
_FORMS = "redis://host:6379/0, rediss://host:6379/0 (TLS) or unix:///path/to/socket?db=0"
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(:[0-9]+)?(/[0-9]+)?/?")


def check_redis_url(url: str) -> None:
    """Raise SettingsError when Redis cannot be reached by this address; what it holds is not repeated, it may be a password."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in SCHEMES:
        raise SettingsError(_wrong_scheme(url, scheme if separator else ""))
    if re.search(r"[\s\"'<>]", url):
        raise SettingsError(
            "REDIS_URL holds a space or a quote. Write it without quotes, and such characters in the password as %XX."
        )
    if "#" in rest:
        raise SettingsError("REDIS_URL holds a #. Write it as %23 in the password.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        port = -1
    if port is not None and not 0 < port < 65536:
        raise SettingsError(
            "REDIS_URL has a port that is not a number from 1 to 65535. Write / : and @ in the password as %2F, %3A and %40."
        )
    if scheme == "unix":
        _check_socket(parts.netloc, unquote(parts.path))
    elif not re.fullmatch(r"/?|/[0-9]{1,9}", parts.path):
        raise SettingsError(
            "REDIS_URL must end with the number of the database, such as /0, or with nothing after the port."
        )
    database = parse_qs(parts.query, keep_blank_values=True).get("db")
    if database and not re.fullmatch(r"[0-9]{1,9}", database[0]):
        raise SettingsError("REDIS_URL has a db that is not a number.")


def _check_socket(place: str, path: str) -> None:
    if not path.startswith("/") or path == "/" or (place and "@" not in place):
        raise SettingsError("REDIS_URL must hold the absolute path of the socket: unix:///run/redis/redis.sock?db=0.")


def _wrong_scheme(url: str, scheme: str) -> str:
    if "sentinel" in scheme.lower():
        return (
            "REDIS_URL names a Sentinel, which Taskyard does not ask for the primary. Name the primary itself, or a proxy "
            f"that follows it (such as HAProxy): {_FORMS}."
        )
    if "cluster" in scheme.lower():
        return f"REDIS_URL names a Redis Cluster, which Taskyard cannot use. Name a single server: {_FORMS}."
    if not scheme and _HOST.fullmatch(url):
        return f"REDIS_URL has no scheme. Write redis://{url}."
    return f"REDIS_URL must be {_FORMS}."
