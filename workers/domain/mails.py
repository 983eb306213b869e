"""Mails: headers that are written from checked values alone, and the same checks for what lies in the outbox.

Python's email package folds an encoded word that decodes to a line end into the message as it is (CVE-2024-6923). So the
head of a mail is not made by it: a text that is not plain ASCII is encoded as a whole, and shown by readers as it was given.
"""

from __future__ import annotations

import base64
import binascii
import quopri
import re
import unicodedata
from dataclasses import dataclass
from email import policy
from email.header import Header
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

from workers.domain.errors import BadInput

MOST_RECIPIENTS = 50
LONGEST_SUBJECT = 500
LONGEST_MAIL = 2_000_000
_HEADERS = ("From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type", "Content-Transfer-Encoding")
_ADDRESS = re.compile(
    r"[A-Za-z0-9_+=#&*/{}~'^$!][A-Za-z0-9_+=#&*/{}~'^$!-]*(?:\.[A-Za-z0-9_+=#&*/{}~'^$!-]+)*"
    r"@[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
)
_NAMED = re.compile(r"\s*(?P<name>[^<>@\"\\,;:()\[\]]{0,100}?)\s*<(?P<address>[^<>]{3,320})>\s*")
_ENCODED = re.compile(r"=\?([^?]*)\?([bBqQ])\?(.*?)\?=", re.DOTALL)
_BREAKING = {"Cc", "Cs", "Zl", "Zp"}
_DEEPEST = 3
_CONTENT = {
    "mime-version": re.compile(r"1\.0"),
    "content-type": re.compile(r'text/plain; charset="(utf-8|us-ascii)"'),
    "content-transfer-encoding": re.compile("7bit|base64|quoted-printable"),
    "date": re.compile(r"[A-Za-z0-9,:+\- ]{10,60}"),
    "message-id": re.compile(r"<[A-Za-z0-9.$_-]{1,200}@taskyard>"),
}


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail as it goes out: the envelope's recipients, and the bytes."""

    recipients: tuple[str, ...]
    content: bytes


def check_subject(subject: str, field: str = "subject") -> str:
    """Return a subject that is one line, as it stands and with its encoded words decoded. Raises BadInput."""
    if not 1 <= len(subject) <= LONGEST_SUBJECT:
        raise BadInput(f"A subject has 1 to {LONGEST_SUBJECT} characters.", field=field)
    text = subject
    for _ in range(_DEEPEST):  # an encoded word may hold another one
        _check_line(text, field)
        decoded = _decoded(text, field)
        if decoded == text:
            return subject
        text = decoded
    raise BadInput("The subject holds encoded words within encoded words. Write it as plain text.", field=field)


def check_recipient(address: str, field: str = "to") -> str:
    """Return one plain address of a mailbox. Raises BadInput for names, groups, lists and encoded words."""
    local = address.partition("@")[0]
    if len(address) > 320 or len(local) > 64 or not _ADDRESS.fullmatch(address):
        shown = "".join(letter if letter.isprintable() else "�" for letter in address[:100])
        raise BadInput(f"{shown!r} is not a plain address such as name@example.org.", field=field)
    return address


def check_recipients(text: str, field: str = "to") -> tuple[str, ...]:
    """Return the addresses of a list that commas separate. Raises BadInput."""
    found = tuple(dict.fromkeys(check_recipient(part.strip(" "), field) for part in text.split(",")))
    if len(found) > MOST_RECIPIENTS:
        raise BadInput(f"A mail has at most {MOST_RECIPIENTS} recipients; this one has {len(found)}.", field=field)
    return found


def check_sender(text: str, field: str = "from") -> tuple[str, str]:
    """Return name and address of a sender, `name@example.org` or `A Name <name@example.org>`. Raises BadInput."""
    match = _NAMED.fullmatch(text)
    if match is None:
        return "", check_recipient(text.strip(" "), field)
    _check_line(match["name"], field)
    if "=?" in match["name"]:
        raise BadInput("A sender's name is plain text, without encoded words.", field=field)
    return match["name"], check_recipient(match["address"], field)


def write(sender: str, recipients: tuple[str, ...], subject: str, body: str) -> bytes:
    """Write a mail of plain text. Raises BadInput for what cannot be one."""
    to = [check_recipient(address) for address in recipients]
    content = EmailMessage(policy=policy.SMTP.clone(cte_type="7bit"))
    content.set_content(body)
    head = (
        _from(sender),
        "To: " + ",\r\n ".join(to),
        "Subject: " + _encoded(check_subject(subject)),
        f"Date: {formatdate()}",
        f"Message-ID: {make_msgid(domain='taskyard')}",
        *(f"{name}: {content[name]}" for name in _HEADERS[5:]),
    )
    raw = "\r\n".join(head).encode("ascii") + b"\r\n\r\n" + content.as_bytes().partition(b"\r\n\r\n")[2]
    return read(raw, sender).content


def read(raw: bytes, sender: str) -> Mail:
    """Read a mail that `write` has written, whoever left it there: exactly its headers, each once, each as checked as there.

    Recipients come from the checked `To` alone, and the sender is always ours. Raises BadInput.
    """
    if len(raw) > LONGEST_MAIL or re.search(rb"\r(?!\n)|(?<!\r)\n|\x00", raw):
        raise BadInput("The mail is too large, or has line ends that are not CR LF.")
    head, _, body = raw.partition(b"\r\n\r\n")
    values = _fields(head)
    if [name.lower() for name in _HEADERS] != list(values):
        raise BadInput("The mail has headers that Taskyard did not write.")
    for name, form in _CONTENT.items():
        if not form.fullmatch(values[name]):
            raise BadInput(f"The header {name} of the mail is not one that Taskyard wrote.")
    recipients = check_recipients(re.sub(r"\s+", " ", values["to"]), "to")
    check_subject(_decoded(values["subject"].strip(), "subject") or " ")
    after_from = head.partition(b"\r\nTo:")[2]
    return Mail(recipients, _from(sender).encode("ascii") + b"\r\nTo:" + after_from + b"\r\n\r\n" + body)


def header_text(text: str) -> str:
    """Return a text that is one line in any header and holds no encoded word."""
    line = "".join(" " if unicodedata.category(letter) in _BREAKING else letter for letter in text)
    return " ".join(line.replace("=?", "= ?").split())


def _fields(head: bytes) -> dict[str, str]:
    """Read a head strictly: printable ASCII, folded lines joined. Raises BadInput; a header that comes twice too."""
    values: dict[str, str] = {}
    for line in head.split(b"\r\n"):
        if len(line) > 998 or not re.fullmatch(rb"[\x20-\x7e]*", line):
            raise BadInput("The mail has a line in its head that is not plain text.")
        name, colon, value = line.decode("ascii").partition(":")
        if line[:1] == b" " and values:
            values[list(values)[-1]] += line.decode("ascii")
        elif not colon or name.lower() in values:
            raise BadInput("The mail has a header twice, or a line in its head that is not a header.")
        else:
            values[name.lower()] = value.removeprefix(" ")
    return values


def _from(sender: str) -> str:
    name, address = check_sender(sender)
    if not name:
        return f"From: {address}"
    return f"From: {_encoded(name)} <{address}>" if not name.isascii() else f'From: "{name}" <{address}>'


def _encoded(text: str) -> str:
    """Return a text for a header: as it is when every reader takes it so, else encoded as a whole."""
    if text.isascii() and "=?" not in text and len(text) < 900 and text == text.strip():
        return text
    return Header(text, "utf-8", maxlinelen=75, header_name="Subject").encode(linesep="\r\n")


def _check_line(text: str, field: str) -> None:
    if any(unicodedata.category(letter) in _BREAKING for letter in text):
        raise BadInput(
            f"The {field.rpartition('.')[2]} holds a line end or another control character, also when encoded words are decoded. "
            "Leave it out.",
            field=field,
        )


def _decoded(text: str, field: str) -> str:
    """Decode every encoded word, more leniently than any reader of mail. Raises BadInput for what cannot be decoded."""

    def decode(match: re.Match[str]) -> str:
        charset, kind, data = match[1].partition("*")[0], match[2].lower(), match[3]
        try:
            raw = _unpacked(kind, data)
            return raw.decode(charset or "ascii", errors="strict")
        except (LookupError, UnicodeError, ValueError, binascii.Error) as error:
            raise BadInput(
                f"The {field.rpartition('.')[2]} holds an encoded word that cannot be read. Write it as plain text.",
                field=field,
            ) from error

    # White space between two encoded words belongs to neither.
    joined = re.sub(r"\?=\s+=\?", "?==?", text)
    return _ENCODED.sub(decode, joined)


def _unpacked(kind: str, data: str) -> bytes:
    if kind == "b":
        packed = re.sub(r"[^A-Za-z0-9+/]", "", data)
        return base64.b64decode(packed + "=" * (-len(packed) % 4))
    return quopri.decodestring(data.encode("utf-8"), header=True)
