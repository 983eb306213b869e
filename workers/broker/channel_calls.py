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
_AT_ONCE = 3
_WAIT_SECONDS = 20.0
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
    """Send a message: `is_taken`, `answer`, and in `refused` what the confinement has refused. Raises Unavailable."""
    return _ask({"action": "send", "url": url, "title": title, "body": body, "type": kind}, is_confined)


def _ask(question: dict[str, Any], is_confined: bool) -> dict[str, Any]:
    if not _slots.acquire(timeout=_WAIT_SECONDS):
        raise Unavailable("Too many channels are called at this moment. Try again in a moment.")
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
    except subprocess.TimeoutExpired:
        raise Unavailable(f"The channel did not answer within {SECONDS:.0f} seconds.") from None
    finally:
        _slots.release()
    if done.returncode != 0:
        raise Unavailable("The process that calls the channel ended early: it took too long or too much memory.")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _environment(is_confined: bool) -> dict[str, str]:
    path = [str(_ROOT), *(entry for entry in sys.path if entry and entry != str(_ROOT))]
    whole = environment()
    kept = {name: value for name, value in whole.items() if not is_setting(name)}
    if is_confined:
        kept = {name: value for name, value in whole.items() if name in _PASSED}
    return {**kept, "PYTHONPATH": ":".join(path), "PYTHONDONTWRITEBYTECODE": "1"}
