"""The mail server that SMTP_URL names, and how it is spoken to."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from workers.domain.addresses import literal_address
from workers.domain.errors import SettingsError

FORMS = (
    "smtp://user:password@host:587, smtps://user:password@host:465, or smtp://host:25?tls=off for a server without TLS"
)


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mails are handed in; `tls` is how: `starttls`, `implicit` or `none`."""

    host: str
    port: int
    tls: str
    user: str = ""
    password: str = field(default="", repr=False)


def read_mail_server(url: str) -> MailServer | None:
    """Read SMTP_URL; None when it is empty. Raises SettingsError, without what the URL holds.

    Without `?tls=off` a server is spoken to in clear only when it is on this machine and gets no password.
    """
    if not url:
        return None
    try:
        parts = urlsplit(url)
        host, port, options = parts.hostname, parts.port, dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    except ValueError:
        raise SettingsError(f"SMTP_URL is not a valid address. Use {FORMS}.") from None
    if parts.scheme not in {"smtp", "smtps"} or not host or parts.path not in {"", "/"} or parts.fragment:
        raise SettingsError(f"SMTP_URL is invalid. Use {FORMS}.")
    wanted = options.pop("tls", "")
    if options or wanted not in {"", "on", "off"} or (wanted == "off" and parts.scheme == "smtps"):
        raise SettingsError("SMTP_URL has an unknown parameter. Use only ?tls=on or ?tls=off, with smtp://.")
    if wanted == "off" and (parts.username or parts.password):
        raise SettingsError(
            "SMTP_URL holds a password and ?tls=off, which would send it in clear. Remove one of the two."
        )
    tls = "implicit" if parts.scheme == "smtps" else "starttls"
    if wanted == "off" or (not wanted and tls == "starttls" and not parts.username and _is_here(host)):
        tls = "none"
    default_port = 465 if tls == "implicit" else 25
    return MailServer(host, port or default_port, tls, unquote(parts.username or ""), unquote(parts.password or ""))


def _is_here(host: str) -> bool:
    literal = literal_address(host)
    return literal is not None and ipaddress.ip_address(literal).is_loopback
