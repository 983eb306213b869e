"""Calls to channels, each in a process of its own: see `channel_process`."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from workers.domain.errors import Unavailable
from workers.settings import environment, is_setting

SECONDS = 45.0
UNANSWERED = "The channel has received the message, so it is not sent again."
_AT_ONCE = 3
_WAIT_SECONDS = 20.0
LONGEST_SECONDS = _WAIT_SECONDS + SECONDS  # that a call may take
_ROOT = Path(__file__).resolve().parents[2]
_slots = threading.BoundedSemaphore(_AT_ONCE)
# Of the environment a confined process gets what Python and TLS need: no proxy, which would connect in its place.
_PASSED = {"PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"}


def check(url: str, *, is_confined: bool) -> dict[str, Any]:
    """Ask whether Apprise understands an address: `is_understood`, and in `private` its hosts that lead inside.

    Raises Unavailable.
    """
    return _ask({"action": "check", "url": url}, is_confined)


def send(url: str, title: str, body: str, kind: str, *, is_confined: bool) -> dict[str, Any]:
    """Send a message: `is_taken`, `answer`, in `refused` what the confinement has refused, and `is_unanswered`.

    The last is whether the message has left and no answer has come: it may have arrived. Raises Unavailable.
    """
    return _ask({"action": "send", "url": url, "title": title, "body": body, "type": kind}, is_confined)


def _ask(question: dict[str, Any], is_confined: bool) -> dict[str, Any]:
    if not _slots.acquire(timeout=_WAIT_SECONDS):
        raise Unavailable("Too many messages are being sent. Try again in a moment.")
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "workers.broker.channel_process"],
            input=json.dumps({**question, "is_confined": is_confined}).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(is_confined),
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        return _without_answer(late.stdout, f"The channel did not answer within {SECONDS:.0f} seconds.")
    finally:
        _slots.release()
    if done.returncode != 0:
        return _without_answer(
            done.stdout, "The process that calls the channel was stopped: it exceeded its time or memory limit."
        )
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if answer.get("is_unanswered") and not answer.get("is_taken"):
        answer["answer"] = f"{answer['answer']} {UNANSWERED}".strip()
    return answer


def _without_answer(written: bytes | None, reason: str) -> dict[str, Any]:
    """Return what is known of a call whose process was ended. Raises Unavailable when no message has left it."""
    lines = [line for line in (written or b"").splitlines() if line.endswith(b"}")]
    if lines and json.loads(lines[-1]).get("is_awaiting"):
        return {"is_taken": False, "answer": f"{reason} {UNANSWERED}", "refused": [], "is_unanswered": True}
    raise Unavailable(reason)


def _environment(is_confined: bool) -> dict[str, str]:
    path = [str(_ROOT), *(entry for entry in sys.path if entry and entry != str(_ROOT))]
    whole = environment()
    kept = {name: value for name, value in whole.items() if not is_setting(name)}
    if is_confined:
        kept = {name: value for name, value in whole.items() if name in _PASSED}
    return {**kept, "PYTHONPATH": ":".join(path), "PYTHONDONTWRITEBYTECODE": "1"}
