"""Mail: written to an outbox under DATA_DIR, sent from there in bounded steps, so that no mail waits for a slow server."""

from __future__ import annotations

import os
import smtplib
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

from pydantic import Field

from workers.domain import mails
from workers.domain.errors import BadInput
from workers.domain.ids import new_id
from workers.domain.mail_servers import read_mail_server
from workers.domain.plurals import counted
from workers.services import files
from workers.task import Reject, Skipped, current_settings, log, progress, task
from workers.tasks.reports import numbers_of_a_day

AT_ONCE = 50
# A mail that somebody began to send this long ago, and died, is tried again.
LEFT_SECONDS = 600.0
MOST_TRIES = 5
Address = Annotated[str, Field(min_length=3, max_length=320, json_schema_extra={"format": "taskyard-mail-address"})]
Addresses = Annotated[
    str,
    Field(
        max_length=2_000,
        description="Recipients, comma-separated; default: MAIL_TO.",
        json_schema_extra={"format": "taskyard-mail-addresses"},
    ),
]
Subject = Annotated[
    str,
    Field(min_length=1, max_length=mails.LONGEST_SUBJECT, json_schema_extra={"format": "taskyard-mail-subject"}),
]


@task(queue="emails", max_retries=2)
def send(to: Address, subject: Subject, body: Annotated[str, Field(max_length=200_000)]) -> dict[str, str]:
    """Write a mail to the outbox; `email.flush_outbox` sends it."""
    with _rejecting():
        return {"id": put((mails.check_recipient(to),), subject, body)}


@task(queue="emails", max_retries=0, timeout_seconds=300)
def flush_outbox() -> dict[str, int]:
    """Send the mails of the outbox, 50 at most, through SMTP_URL; without one they are kept as files. Skips when the outbox is empty."""
    waiting = _take()
    if not waiting:
        raise Skipped("no mail waiting")
    sent = failed = 0
    try:
        with _server() as server:
            for done, path in enumerate(waiting):
                progress(done, len(waiting), path.stem)
                if _send(server, path):
                    sent += 1
                else:
                    failed += 1
    finally:
        _release(waiting)
    progress(len(waiting), len(waiting), f"{sent} sent")
    return {"sent": sent, "failed": failed}


@task(queue="emails", max_retries=2)
def digest(to: Addresses = "") -> dict[str, str]:
    """Write a digest of the last day's jobs to the outbox. Skips when no recipient is set."""
    recipient = to or current_settings().mail_to
    if not recipient:
        raise Skipped("no recipient: set MAIL_TO, or `to` in the payload")
    told = numbers_of_a_day()
    lines = [f"{name}: {one['completed']:,} completed, {one['failed']:,} failed" for name, one in told["tasks"].items()]
    head = f"{counted(told['completed'], 'job')} completed, {told['failed']:,} failed in the last 24 hours"
    with _rejecting():
        recipients = mails.check_recipients(recipient)
        return {"id": put(recipients, head, "\n".join([head, "", *(lines or ["No jobs ran."])]))}


def put(recipients: tuple[str, ...], subject: str, body: str) -> str:
    """Write a mail to the outbox, whole or not at all; its id. Raises BadInput for what cannot be a mail."""
    raw = mails.write(current_settings().mail_from, recipients, subject, body)
    mail_id = new_id()
    draft = _folder("drafts") / f"{mail_id}.eml"
    with files.create_file(draft.parent, draft.name) as file:
        file.write(raw)
    draft.rename(_folder("outbox") / draft.name)
    return mail_id


def _take() -> list[Path]:
    """Claim the oldest mails by renaming them, so that two flushes never send the same one."""
    outbox, sending = _folder("outbox"), _folder("sending")
    for left in sending.glob("*.eml"):
        if time.time() - left.lstat().st_mtime > LEFT_SECONDS:
            left.rename(outbox / left.name)
    taken = []
    for path in sorted(outbox.glob("*.eml"))[:AT_ONCE]:
        try:
            claimed = path.rename(sending / path.name)
        except FileNotFoundError:
            continue
        os.utime(claimed, follow_symlinks=False)
        taken.append(claimed)
    return taken


def _send(server: smtplib.SMTP | None, path: Path) -> bool:
    try:
        # A file in the outbox may have been put there by anybody's job: it is held against the rules of `put` again.
        with files.open_below(path.parent, path.name, follow_links=False) as file:
            mail = mails.read(file.read(mails.LONGEST_MAIL + 1), current_settings().mail_from)
    except (BadInput, FileNotFoundError) as error:
        log(f"{path.stem} is not sent: {error}", "warning")
        with suppress(FileNotFoundError):
            path.rename(_folder("failed") / path.name)
        return False
    try:
        if server is not None:
            sender = mails.check_sender(current_settings().mail_from)[1]
            for recipient in server.sendmail(sender, list(mail.recipients), mail.content):
                log(f"{path.stem}: the mail server refuses {recipient}", "warning")
    except smtplib.SMTPException as error:
        log(f"{path.stem}: {error}", "warning")
        _put_back(path)
        return False
    path.rename(_folder("sent") / path.name)
    return True


def _release(taken: list[Path]) -> None:
    """Give back what was claimed and not dealt with, as when the mail server cannot be reached."""
    for path in taken:
        with suppress(FileNotFoundError):
            path.rename(_folder("outbox") / path.name)


def _put_back(path: Path) -> None:
    stem, _, tries = path.stem.partition("~")
    n = int(tries or 0) + 1
    path.rename(_folder("failed" if n >= MOST_TRIES else "outbox") / f"{stem}~{n}.eml")


@contextmanager
def _server() -> Iterator[smtplib.SMTP | None]:
    address = read_mail_server(current_settings().smtp_url)
    if address is None:
        yield None
        return
    context = ssl.create_default_context()
    if address.tls == "implicit":
        server: smtplib.SMTP = smtplib.SMTP_SSL(address.host, address.port, timeout=30, context=context)
    else:
        server = smtplib.SMTP(address.host, address.port, timeout=30)
    with server:
        if address.tls == "starttls":
            _start_tls(server, context)
        if address.user:
            server.login(address.user, address.password)
        yield server


def _start_tls(server: smtplib.SMTP, context: ssl.SSLContext) -> None:
    try:
        server.starttls(context=context)
    except smtplib.SMTPNotSupportedError as error:
        raise RuntimeError(
            "The mail server does not offer STARTTLS, so nothing was sent. Use smtps://, or ?tls=off in SMTP_URL to send mail unencrypted."
        ) from error
    except ssl.SSLCertVerificationError as error:
        raise RuntimeError(
            f"The mail server's certificate cannot be verified ({error.verify_message}), so nothing was sent. "
            "Use the host name of the certificate, and set SSL_CERT_FILE for a private certificate authority."
        ) from error


@contextmanager
def _rejecting() -> Iterator[None]:
    """Let what cannot be a mail fail the job at once."""
    try:
        yield
    except BadInput as error:
        raise Reject(f"The mail is invalid: {error.message}") from error


def _folder(name: str) -> Path:
    return files.make_folder(current_settings().data_dir / "mail", name)
