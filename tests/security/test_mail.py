"""Mails have the headers that Taskyard writes and no others, whatever a subject or a file in the outbox says."""

from __future__ import annotations

import base64
import os
import re
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.integration.smtp import MailServer, mail_server, make_certificate
from workers.domain import mails
from workers.domain.errors import BadInput, SettingsError
from workers.domain.mail_servers import read_mail_server
from workers.settings import Settings
from workers.task import Reject, Skipped
from workers.tasks import email

HEADERS = ["from", "to", "subject", "date", "message-id", "mime-version", "content-type", "content-transfer-encoding"]
SENDER = "taskyard@localhost"


def encoded(text: str, charset: str = "utf-8") -> str:
    return f"=?{charset}?b?{base64.b64encode(text.encode(charset)).decode()}?="


HOSTILE = [
    "a\r\nBcc: evil@example.org",
    "a\nBcc: evil@example.org",
    "a\rBcc: evil@example.org",
    "a\r\n Bcc: folded",
    "=?utf-8?q?a=0D=0ABcc:_evil@example.org?=",
    "=?utf-8?q?a=0ABcc:_evil@example.org?=",
    "=?utf-8?q?a=0DBcc:_evil@example.org?=",
    "=?UTF-8?Q?a=0d=0aBcc:_evil@example.org?= and more",
    "=?utf-8*en?q?a=0D=0ABcc:_evil@example.org?=",
    "x=?utf-8?q?a=0D=0ABcc:_evil@example.org?=y",
    "=?utf-8?q?a?= =?utf-8?q?=0D=0ABcc:_evil?=",
    "=?utf-8?q?a b=0D=0ABcc: evil?=",
    "=?iso-8859-1?q?a=0D=0A_Bcc:_evil@example.org?=",
    "=?utf-7?q?a+AA0ACg-Bcc:_evil?=",
    "=?us-ascii?q?=0D=0A=0D=0Abody?=",
    "hello =?utf-8?q?=0D=0A=0D=0Abody?=",
    encoded("a\r\nBcc: evil@example.org"),
    encoded("a\r\nBcc: evil@example.org").rstrip("?=").rstrip("=") + "?=",
    encoded("a\r\nBcc: evil@example.org", "utf-16"),
    encoded("a\nX-Header: b"),
    encoded("a\x85b"),
    encoded("a\u2028b"),
    encoded(encoded("a\r\nBcc: evil@example.org")),
    encoded(encoded(encoded(encoded("a")))),
    "a\x00b",
    "a\x0bb",
    "a\x0cb",
    "a\x1bb",
    "a\x85b",
    "a\u2028b",
    "=?utf-8?q?=00?=",
    "=?no-such-charset?q?a?=",
]
NO_ADDRESS = [
    "a@example.org\r\nBcc: b@example.org",
    "a@example.org\r\nDATA",
    "a@example.org\n",
    "=?utf-8?q?a=0D=0ABcc:_b?=@example.org",
    "a@=?utf-8?q?example=2Eorg?=",
    "a@example.org, b@example.org",
    "a@example.org;b@example.org",
    "group: a@example.org;",
    "undisclosed-recipients:;",
    "A <a@example.org>",
    "<a@example.org>",
    '"a b"@example.org',
    '"a@example.org"@b',
    "a(comment)@example.org",
    "@relay.example:a@example.org",
    "-oQ/tmp@example.org",
    "a@[127.0.0.1]",
    "a@-example.org",
    "a@example..org",
    "a..b@example.org",
    "a%b@example.org",
    "a|b@example.org",
    "ä@example.org",
    "a@exämple.org",
    "a@example.org\x00",
    "a@",
    "@a",
    "a",
    "x" * 65 + "@example.org",
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.delenv("SMTP_URL", raising=False)
    return tmp_path / "mail"


def outbox(folder: Path) -> list[Path]:
    return sorted((folder / "outbox").glob("*.eml"))


def names_on_the_wire(mail: str) -> list[str]:
    head = mail.replace("\r\n", "\n").split("\n\n", 1)[0]
    return [line.partition(":")[0].lower() for line in head.split("\n") if line[:1] not in {" ", "\t"}]


@pytest.mark.parametrize("subject", HOSTILE)
def test_a_subject_that_would_add_a_header_fails_the_job_and_leaves_no_mail(folder: Path, subject: str) -> None:
    with pytest.raises(Reject, match="subject"):
        email.send("a@example.org", subject, "body")
    assert not list(folder.rglob("*.eml"))


@pytest.mark.parametrize("to", NO_ADDRESS)
def test_a_recipient_that_is_not_one_plain_address_fails_the_job(folder: Path, to: str) -> None:
    with pytest.raises(Reject, match="plain address"):
        email.send(to, "subject", "body")
    assert not list(folder.rglob("*.eml"))


def submission(app: Flask, auth: Any, task: str, payload: dict[str, Any]) -> tuple[int, str]:
    answer = app.test_client().post(
        "/api/v1/jobs", json={"task": task, "payload": payload}, headers=auth.token("operator")
    )
    return answer.status_code, (answer.json.get("errors") or [{"field": ""}])[0]["field"]


def test_what_cannot_be_a_mail_is_refused_at_submission_at_its_field(app: Flask, auth: Any) -> None:
    good = {"to": "a@example.org", "subject": "Grüße =?", "body": "b"}
    assert submission(app, auth, "email.send", good) == (202, "")
    for subject in HOSTILE:
        refused = submission(app, auth, "email.send", {**good, "subject": subject})
        assert refused[0] == 422, subject
        assert refused[1] in {"payload.subject", "payload"}, subject  # NUL is refused before any field is looked at
    for to in NO_ADDRESS:
        assert submission(app, auth, "email.send", {**good, "to": to})[0] == 422, to
    assert submission(app, auth, "email.digest", {"to": "a@example.org, b@example.org"}) == (202, "")
    assert submission(app, auth, "email.digest", {"to": "a@example.org\nBcc: b@example.org"}) == (422, "payload.to")
    many = ",".join(f"a{number}@b.c" for number in range(mails.MOST_RECIPIENTS + 1))
    assert submission(app, auth, "email.digest", {"to": many}) == (422, "payload.to")


SUBJECTS = (
    st.text(min_size=1, max_size=200)
    | st.text("=?utf8qb_0DAa\r\n: ", min_size=1, max_size=60)
    | st.text(max_size=40).map(encoded)
    | st.tuples(st.sampled_from(HOSTILE), st.text(max_size=5)).map("".join)
    | st.builds("=?{}?{}?{}?=".format, st.sampled_from(["utf-8", "utf-7", "ascii", ""]), st.sampled_from("qbQ"), st.text(max_size=30))
)  # fmt: skip


@pytest.fixture(scope="module")
def relay() -> Any:
    with mail_server() as server:
        yield server


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(SUBJECTS, st.text(max_size=100))
def test_no_subject_adds_a_header_on_the_wire(
    relay: MailServer, tmp_path_factory: pytest.TempPathFactory, subject: str, body: str
) -> None:
    assume(subject.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in subject))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATA_DIR", str(tmp_path_factory.mktemp("mail")))
        patch.setenv("SMTP_URL", relay.url)
        relay.mails.clear()
        try:
            email.send("a@example.org", subject, body + "\r\nBcc: this is the body\r\n")
        except Reject:
            return
        assert email.flush_outbox() == {"sent": 1, "failed": 0}
    (mail,) = relay.mails
    assert names_on_the_wire(mail) == HEADERS
    # Readers show what was given, and a second reading of what they show adds no line either.
    shown = message_from_bytes(mail.encode(), policy=policy.compat32)["Subject"]
    text = str(make_header(decode_header(shown)))
    assert text == subject
    assert not re.search("[\r\n]", str(policy.SMTP.header_factory("Subject", text)))


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60) | st.from_regex(r"[^@]{1,10}@[^@]{1,10}", fullmatch=True) | st.sampled_from(NO_ADDRESS))
def test_no_recipient_adds_a_header_or_a_line(to: str) -> None:
    try:
        raw = mails.write(SENDER, mails.check_recipients(to), "subject", "body")
    except BadInput:
        return
    assert names_on_the_wire(raw.decode()) == HEADERS
    for recipient in mails.read(raw, SENDER).recipients:
        assert re.fullmatch(r"[!-~]+", recipient)
        assert not set(recipient) & set(' <>(),;:"\\[]?%|')


@pytest.mark.parametrize(
    ("find", "put"),
    [
        ("From:", "Bcc: evil@example.org\r\nFrom:"),
        ("From:", "Cc: evil@example.org\r\nFrom:"),
        ("From:", "Resent-To: evil@example.org\r\nFrom:"),
        ("From:", "X-A: b\r\nFrom:"),
        ("From:", " folded\r\nFrom:"),
        ("Subject:", "To: evil@example.org\r\nSubject:"),
        ("Subject:", "to: evil@example.org\r\nSubject:"),
        ("Subject:", "Bcc : evil@example.org\r\nSubject:"),
        ("Subject: subject", "Subject: =?utf-8?q?a=0D=0ABcc:_evil@example.org?="),
        ("Subject: subject", "Subject: a\nBcc: evil@example.org"),
        ("Subject: subject", "Subject: a\rBcc: evil@example.org"),
        ("To: a@example.org", "To: undisclosed:;"),
        ("To: a@example.org", "To: " + ",".join(f"a{number}@b.c" for number in range(51))),
        ("To: a@example.org", 'To: "x" <a@example.org>'),
        ("text/plain", "text/html"),
        ("text/plain;", 'multipart/mixed; boundary="x";'),
        ("\r\n\r\nbody", "\n\nbody"),
        ("body", "body\n.\nMAIL FROM:<evil@example.org>"),
        ("body", "body\r.\r"),
        ("body", "bo\x00dy"),
        ("body", "b" * 2_100_000),
        ("MIME-Version: 1.0", "MIME-Version: 1.0 (x)"),
    ],
)
def test_a_mail_that_was_planted_in_the_outbox_is_not_sent(
    folder: Path, monkeypatch: pytest.MonkeyPatch, find: str, put: str
) -> None:
    with mail_server() as server:
        monkeypatch.setenv("SMTP_URL", server.url)
        email.send("a@example.org", "subject", "body")
        (path,) = outbox(folder)
        written = path.read_bytes()
        assert find.encode() in written
        path.write_bytes(written.replace(find.encode(), put.encode(), 1))
        assert email.flush_outbox() == {"sent": 0, "failed": 1}
        assert (server.mails, server.recipients) == ([], [])
        assert [file.name for file in (folder / "failed").iterdir()] == [path.name]


def test_a_planted_mail_cannot_choose_its_sender(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with mail_server() as server:
        monkeypatch.setenv("SMTP_URL", server.url)
        email.send("a@example.org", "subject", "body")
        (path,) = outbox(folder)
        path.write_bytes(path.read_bytes().replace(b"From: taskyard@localhost", b"From: boss@example.org"))
        email.flush_outbox()
        assert server.senders == [SENDER]
        assert "boss" not in server.mails[0]


def test_a_mail_arrives_as_it_was_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_FROM", "Täsk Yard <taskyard@example.org>")
    with mail_server() as server:
        monkeypatch.setenv("SMTP_URL", server.url)
        email.put(("a@example.org", "b@example.org"), "Überblick: 3 jobs failed " * 15, "Grüße\n.\nFrom here\n")
        assert email.flush_outbox() == {"sent": 1, "failed": 0}
        mail = message_from_bytes(server.mails[0].encode(), policy=policy.default)
        assert server.recipients == ["a@example.org", "b@example.org"]
        assert server.senders == ["taskyard@example.org"]
    assert mail["Subject"] == "Überblick: 3 jobs failed " * 15
    assert [(one.display_name, one.addr_spec) for one in mail["From"].addresses] == [
        ("Täsk Yard", "taskyard@example.org")
    ]
    assert [one.addr_spec for one in mail["To"].addresses] == ["a@example.org", "b@example.org"]
    assert mail.get_content().splitlines() == ["Grüße", ".", "From here"]
    with pytest.raises(Skipped):
        email.flush_outbox()


def test_the_title_of_an_alert_is_one_line_without_encoded_words() -> None:
    assert mails.header_text("a\r\nBcc: b =?utf-8?q?x=0D=0A?=\x1b \u2028c") == "a Bcc: b = ?utf-8?q?x=0D=0A?= c"


@pytest.mark.parametrize(
    ("url", "tls"),
    [
        ("smtp://mail.example", "starttls"),
        ("smtp://mail.example:25?tls=on", "starttls"),
        ("smtp://10.0.0.1:25", "starttls"),
        ("smtp://u:p@mail.example", "starttls"),
        ("smtp://u:p@localhost:25", "starttls"),
        ("smtp://localhost:25?tls=on", "starttls"),
        ("smtp://mail.example:25?tls=off", "none"),
        ("smtp://127.0.0.1:25", "none"),
        ("smtp://localhost:25", "none"),
        ("smtp://[::1]:25", "none"),
        ("smtps://u:p@mail.example", "implicit"),
        ("smtps://localhost", "implicit"),
    ],
)
def test_mail_goes_in_clear_only_where_that_was_asked_for_or_stays_on_this_machine(url: str, tls: str) -> None:
    server = read_mail_server(url)
    assert server is not None
    assert server.tls == tls


@pytest.mark.parametrize(
    "url",
    ["smtp://u:hunter2@mail.example?tls=off", "smtp://u:hunter2@localhost?tls=off", "smtp://mail.example?tls=maybe", "smtp://mail.example?ssl=off",
     "smtps://mail.example?tls=off", "smtp://", "http://mail.example", "mail.example", "smtp://mail.example:99999", "smtp://[", "smtp://a/x"],
)  # fmt: skip
def test_a_mail_server_that_cannot_be_used_safely_stops_the_start(url: str) -> None:
    with pytest.raises(SettingsError, match="SMTP_URL") as caught:
        Settings.from_env({"SMTP_URL": url})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ["MAIL_FROM", "MAIL_TO"])
@pytest.mark.parametrize("value", ["a@b\nBcc: c@d", "=?utf-8?q?a=0D=0A?= <a@b>", "nobody", "group: a@b;"])
def test_a_sender_or_reader_that_is_no_address_stops_the_start(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.from_env({name: value})


def test_a_server_without_tls_gets_neither_mail_nor_password(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with mail_server() as server:
        monkeypatch.setenv("SMTP_URL", server.url.replace("smtp://", "smtp://user:hunter2@"))
        email.send("a@example.org", "subject", "body")
        with pytest.raises(RuntimeError, match="STARTTLS"):
            email.flush_outbox()
        assert server.mails == []
        assert "hunter2" not in str(server.lines)
    assert len(outbox(folder)) == 1  # it waits for the server to be mended


def test_mail_and_password_go_over_tls_to_a_server_that_is_trusted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    certificate = make_certificate(folder.parent, "localhost")
    with mail_server(certificate) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        monkeypatch.setenv("SMTP_URL", f"smtp://user:hunter2@localhost:{server.port}")
        email.send("a@example.org", "subject", "body")
        assert email.flush_outbox() == {"sent": 1, "failed": 0}
        assert len(server.mails) == 1
        assert (True, "\0user\0hunter2") in server.lines
        in_clear = [text.split()[0].upper() for is_encrypted, text in server.lines if not is_encrypted]
    assert in_clear == ["EHLO", "STARTTLS"]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_server_with_an_unknown_certificate_gets_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    certificate = make_certificate(folder.parent, "localhost")
    if host != "localhost":  # trusted, but made out to another name
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with mail_server(certificate) as server:
        monkeypatch.setenv("SMTP_URL", f"smtp://user:hunter2@{host}:{server.port}")
        email.send("a@example.org", "subject", "body")
        with pytest.raises(RuntimeError, match="certificate"):
            email.flush_outbox()
        assert server.mails == []
        assert "hunter2" not in str(server.lines)
    assert os.listdir(folder / "sending") == []
