"""Mail: written to an outbox under DATA_DIR, sent from there in bounded steps, so that no mail waits for a slow server."""

from __future__ import annotations

import os
import smtplib
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email import policy
from email.message import EmailMessage
from email.utils import formatdate, make_msgid, parseaddr
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

from pydantic import Field

from workers.domain.ids import new_id
from workers.services import files
from workers.task import Reject, Skipped, current_settings, log, progress, task
from workers.tasks import _mail_headers as mail_headers
from workers.tasks.reports import numbers_of_a_day

AT_ONCE = 50
# A mail that somebody began to send this long ago, and died, is tried again.
LEFT_SECONDS = 600.0
MOST_TRIES = 5
MAX_MAIL_BYTES = 2_000_000
Address = Annotated[str, Field(min_length=3, max_length=320, pattern=r"^[^\s@<>,]+@[^\s@<>,]+$")]


@task(queue="emails", max_retries=2)
def send(
    to: Address,
    subject: Annotated[str, Field(min_length=1, max_length=500)],
    body: Annotated[str, Field(max_length=200_000)],
) -> dict[str, str]:
    """Put a mail into the outbox; `email.flush_outbox` sends it."""
    return {"id": put(to, subject, body)}


@task(queue="emails", max_retries=0, timeout_seconds=300)
def flush_outbox() -> dict[str, int]:
    """Send the mails of the outbox, 50 at most, through SMTP_URL; without one they are kept as files. Skips when there is none."""
    waiting = _take()
    if not waiting:
        raise Skipped("no mail waits")
    sent = failed = 0
    with _server() as server:
        for done, path in enumerate(waiting):
            progress(done, len(waiting), path.stem)
            if _send(server, path):
                sent += 1
            else:
                failed += 1
    progress(len(waiting), len(waiting), f"{sent} sent")
    return {"sent": sent, "failed": failed}


@task(queue="emails", max_retries=2)
def digest(
    to: Annotated[str, Field(max_length=320, description="Who gets it; MAIL_TO unless given.")] = "",
) -> dict[str, str]:
    """Write a digest of the last day's jobs to the outbox. Skips when nobody is to get it."""
    recipient = to or current_settings().mail_to
    if not recipient:
        raise Skipped("nobody to send it to: set MAIL_TO, or `to` in the payload")
    told = numbers_of_a_day()
    lines = [f"{name}: {one['completed']:,} completed, {one['failed']:,} failed" for name, one in told["tasks"].items()]
    head = f"{told['completed']:,} jobs completed, {told['failed']:,} failed in the last 24 hours"
    return {"id": put(recipient, head, "\n".join([head, "", *(lines or ["Nothing ran."])]))}


def put(to: str, subject: str, body: str) -> str:
    """Write a mail to the outbox, whole or not at all; its id."""
    for name, value in (("to", to), ("subject", subject)):
        mail_headers.check_value(name, value)
    mail = EmailMessage(policy=policy.SMTP)
    try:
        mail["From"], mail["To"], mail["Subject"] = current_settings().mail_from, to, subject
    except ValueError as error:  # a header with a line break in it
        raise Reject(f"This cannot be a mail: {error}.") from error
    mail["Date"], mail["Message-ID"] = formatdate(), make_msgid(domain="taskyard")
    mail.set_content(body)
    raw = mail.as_bytes()
    mail_headers.check_message(raw)
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
    if server is not None:
        try:
            with files.open_below(path.parent, path.name, follow_links=False) as file:
                raw = file.read(MAX_MAIL_BYTES)
            # A file in the outbox may have been put there by anybody's job: its headers name no further recipients.
            recipient = mail_headers.check_message(raw)
            server.sendmail(parseaddr(current_settings().mail_from)[1], [recipient], raw)
        except (smtplib.SMTPException, files.FileRefused, Reject) as error:
            log(f"{path.stem}: {error}", "warning")
            _put_back(path)
            return False
    path.rename(_folder("sent") / path.name)
    return True


def _put_back(path: Path) -> None:
    stem, _, tries = path.stem.partition("~")
    n = int(tries or 0) + 1
    path.rename(_folder("failed" if n >= MOST_TRIES else "outbox") / f"{stem}~{n}.eml")


@contextmanager
def _server() -> Iterator[smtplib.SMTP | None]:
    address = urlsplit(current_settings().smtp_url)
    if not address.hostname:
        yield None
        return
    context = ssl.create_default_context()
    if address.scheme == "smtps":
        server: smtplib.SMTP = smtplib.SMTP_SSL(address.hostname, address.port or 465, timeout=30, context=context)
    else:
        server = smtplib.SMTP(address.hostname, address.port or 25, timeout=30)
    with server:
        server.ehlo()
        if address.scheme == "smtp" and not mail_headers.may_be_plain(address):
            # Raises SMTPNotSupportedError when the server does not offer it: nothing is sent in clear.
            server.starttls(context=context)
            server.ehlo()
        if address.username:
            server.login(unquote(address.username), unquote(address.password or ""))
        yield server


def _folder(name: str) -> Path:
    return files.make_folder(current_settings().data_dir / "mail", name)
