"""Headers of mails: no value may add a header, neither as it stands nor decoded, and no mail has other headers than ours.

Python's email package folds an encoded word that decodes to a line end into the message as it is (CVE-2024-6923).
"""

from __future__ import annotations

import ipaddress
import re
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from urllib.parse import SplitResult, parse_qs

from workers.domain.addresses import literal_address
from workers.task import Reject

_HEADERS = {
    "from",
    "to",
    "subject",
    "date",
    "message-id",
    "content-type",
    "content-transfer-encoding",
    "mime-version",
}
_CONTROL = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029]")
_ADDRESS = re.compile(r"[^\s@<>,;:\"()\[\]\\=?\x00-\x20\x7f]{1,64}@[A-Za-z0-9.\-\u0080-\uffff]{1,255}")


def check_value(name: str, value: str) -> None:
    """Refuse a value that holds control characters, also when its encoded words are decoded. Raises Reject."""
    decoded = value
    for _ in range(3):  # an encoded word may hold another one
        if _CONTROL.search(decoded):
            raise Reject(f"`{name}` holds a line end or another control character, which a mail's header cannot.")
        following = _decoded(name, decoded)
        if following == decoded:
            break
        decoded = following
    if name == "to" and not _ADDRESS.fullmatch(value):
        raise Reject("`to` must be one plain address such as name@example.org.")


def check_message(raw: bytes) -> str:
    """Return the recipient of a mail that has our headers and no others. Raises Reject."""
    head = re.split(rb"\r?\n\r?\n", raw, maxsplit=1)[0]
    names: list[str] = []
    values: dict[str, str] = {}
    for line in re.split(rb"\r\n|\n|\r", head):
        if line[:1] in {b" ", b"\t"} and names:
            values[names[-1]] += line.decode("latin-1")
            continue
        name, colon, value = line.partition(b":")
        if not colon:
            raise Reject("The mail has a line in its head that is not a header.")
        names.append(name.decode("latin-1").lower())
        values[names[-1]] = value.decode("latin-1")
    if len(names) != len(set(names)) or not set(names) <= _HEADERS or not {"from", "to", "subject"} <= set(names):
        raise Reject("The mail has headers other than the ones that Taskyard writes.")
    recipient = values["to"].strip()
    check_value("to", recipient)
    return recipient


def may_be_plain(address: SplitResult) -> bool:
    """Return whether mail may go to this server without TLS: it is on this machine, or SMTP_URL says `?tls=off`."""
    if parse_qs(address.query).get("tls") == ["off"]:
        return True
    literal = literal_address(address.hostname or "")
    return literal is not None and ipaddress.ip_address(literal).is_loopback


def _decoded(name: str, value: str) -> str:
    try:
        return str(make_header(decode_header(value)))
    except (HeaderParseError, LookupError, UnicodeError, ValueError) as error:
        raise Reject(f"`{name}` holds an encoded word that cannot be read.") from error
