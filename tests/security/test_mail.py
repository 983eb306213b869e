"""Mails have the headers that Taskyard writes and no others, whatever a subject or a file in the outbox says."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.smtp import mail_server
from workers.task import Reject
from workers.tasks import _mail_headers as mail_headers
from workers.tasks import email

HEADERS = {"from", "to", "subject", "date", "message-id", "content-type", "content-transfer-encoding", "mime-version"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    return tmp_path / "mail"


def encoded(text: str) -> str:
    return f"=?utf-8?b?{base64.b64encode(text.encode()).decode()}?="


SUBJECTS = [
    "a\r\nBcc: evil@example.org",
    "a\nBcc: evil@example.org",
    "a\rBcc: evil@example.org",
    "=?utf-8?q?a=0D=0ABcc:_evil@example.org?=",
    "=?utf-8?q?a=0ABcc:_evil@example.org?=",
    "=?UTF-8?Q?a=0d=0aBcc:_evil@example.org?= and more",
    encoded("a\r\nBcc: evil@example.org"),
    encoded("a\nX-Header: b"),
    encoded(encoded("a\r\nBcc: evil@example.org")),
    "=?iso-8859-1?q?a=0D=0A_Bcc:_evil@example.org?=",
    "hello =?utf-8?q?=0D=0A=0D=0Abody?=",
    "a\x00b",
    "a\x0bb",
    "a\u2028b",
    "=?utf-8?q?=00?=",
    "=?no-such-charset?q?a?=",
]


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_subject_that_would_add_a_header_is_refused(folder: Path, subject: str) -> None:
    with pytest.raises(Reject, match="subject"):
        email.send("a@example.org", subject, "body")
    assert not list(folder.rglob("*.eml"))


@pytest.mark.parametrize(
    "to",
    [
        "a@example.org\r\nBcc: b@example.org",
        "=?utf-8?q?a=0D=0ABcc:_b?=@example.org",
        "a@example.org, b@example.org",
        "group: a@example.org;",
        "A <a@example.org>",
        '"a b"@example.org',
        "a@example.org\x00",
        "a@",
        "a",
        "",
    ],
)
def test_a_recipient_that_is_not_one_plain_address_is_refused(folder: Path, to: str) -> None:
    with pytest.raises(Reject):
        email.put(to, "subject", "body")
    assert not list(folder.rglob("*.eml"))


def names_on_the_wire(mail: str) -> list[str]:
    head = mail.replace("\r\n", "\n").split("\n\n", 1)[0]
    return [line.partition(":")[0].lower() for line in head.split("\n") if line[:1] not in {" ", "\t"}]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.text(min_size=1, max_size=200)
    | st.text("=?utf8qb_0DAa\r\n: ", min_size=1, max_size=60)
    | st.text(max_size=40).map(lambda text: encoded(text) or "x")
)
def test_no_subject_adds_a_header_on_the_wire(tmp_path_factory: pytest.TempPathFactory, subject: str) -> None:
    os.environ["DATA_DIR"] = str(tmp_path_factory.mktemp("mail"))
    try:
        with mail_server() as server:
            os.environ["SMTP_URL"] = server.url
            try:
                email.put("a@example.org", subject, "body\r\nBcc: this is the body\r\n")
            except Reject:
                return
            email.flush_outbox()
            (mail,) = server.mails
    finally:
        os.environ.pop("SMTP_URL", None)
        os.environ.pop("DATA_DIR", None)
    names = names_on_the_wire(mail)
    assert set(names) <= HEADERS
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    "extra",
    ["Bcc: evil@example.org", "Cc: evil@example.org", "Resent-To: evil@example.org", "To: evil@example.org", "X-A: b"],
)
def test_a_mail_that_was_planted_in_the_outbox_is_not_sent(
    folder: Path, monkeypatch: pytest.MonkeyPatch, extra: str
) -> None:
    with mail_server() as server:
        monkeypatch.setenv("SMTP_URL", server.url)
        email.put("a@example.org", "subject", "body")
        (path,) = (folder / "outbox").glob("*.eml")
        path.write_bytes(extra.encode() + b"\r\n" + path.read_bytes())
        assert email.flush_outbox() == {"sent": 0, "failed": 1}
        assert server.mails == []


def test_a_mail_arrives_as_it_was_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with mail_server() as server:
        monkeypatch.setenv("SMTP_URL", server.url)
        email.put("a@example.org", "Überblick: 3 jobs failed", "body")
        assert email.flush_outbox() == {"sent": 1, "failed": 0}
        assert "To: a@example.org" in server.mails[0]
    assert folder.exists()


@pytest.mark.parametrize(
    ("url", "is_plain"),
    [
        ("smtp://mail.example:25", False),
        ("smtp://mail.example:25?tls=on", False),
        ("smtp://10.0.0.1:25", False),
        ("smtp://mail.example:25?tls=off", True),
        ("smtp://127.0.0.1:25", True),
        ("smtp://localhost:25", True),
        ("smtp://[::1]:25", True),
    ],
)
def test_mail_leaves_this_machine_only_with_tls(url: str, is_plain: bool) -> None:
    assert mail_headers.may_be_plain(urlsplit(url)) is is_plain


def test_a_server_without_tls_gets_neither_mail_nor_password(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import smtplib

    monkeypatch.setattr(mail_headers, "may_be_plain", lambda _address: False)
    with mail_server() as server:
        monkeypatch.setenv("SMTP_URL", server.url.replace("smtp://", "smtp://user:password@"))
        email.put("a@example.org", "subject", "body")
        with pytest.raises(smtplib.SMTPNotSupportedError):
            email.flush_outbox()
        assert server.mails == []
    assert folder.exists()
