"""The process that talks to one channel through Apprise, started by `channel_calls` for one message and ended after it.

What users give runs here confined, without Taskyard's secrets, with bounded time and memory. It reads one JSON object and
writes one a line: `{"is_awaiting": …}` whenever a message has left or was answered, and the answer at the end.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import socket
import sys
import threading
from typing import Any, TextIO
from urllib.parse import urljoin, urlsplit

import apprise
import requests
from apprise.plugins.email.base import NotifyEmail

from workers.broker.confinement import confine, stay_on_host
from workers.broker.handover import Handover
from workers.domain.addresses import is_public

SECONDS = 40
ANSWER_SECONDS = 25.0  # that a channel has for each answer
_LOOKUP_SECONDS = 5.0
_MEMORY = 1 << 30
_DEFAULT_PORTS = {"http": 80, "https": 443}


def main() -> None:
    """Do what the standard input asks for, and answer on the standard output."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # a plug-in that prints does not disturb the answer
    signal.alarm(SECONDS)
    question = json.load(sys.stdin)
    handover = Handover(lambda is_awaiting: _write(answers, {"is_awaiting": is_awaiting}))
    handover.watch()
    apprise.URLBase.socket_read_timeout = ANSWER_SECONDS
    refused: list[str] = []
    _load_plugins()
    if question["is_confined"]:
        refused = _confine()
    act = _check if question["action"] == "check" else _send
    answer = act(question, refused)
    _write(answers, {**answer, "is_unanswered": handover.is_awaiting})
    os._exit(0)  # a thread that a plug-in has started cannot hold it up


def _write(answers: TextIO, line: dict[str, Any]) -> None:
    answers.write(json.dumps(line) + "\n")
    answers.flush()


def _load_plugins() -> None:
    # All of them, while this process may still read their files.
    apprise.Apprise.instantiate("json://localhost", suppress_exceptions=True)
    # Mail servers scan a mail before they take it; Apprise knows one limit for connecting and for every answer.
    NotifyEmail.socket_connect_timeout = int(ANSWER_SECONDS)
    "".encode("idna")  # a codec that is loaded at its first use


def _confine() -> list[str]:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    packages = [os.path.dirname(str(module.__file__)) for module in (apprise, requests)]
    refused = confine(packages)
    found = requests.Session.get_redirect_target
    requests.Session.get_redirect_target = stay_on_host(refused, found, _is_same_host)  # type: ignore[method-assign]
    return refused


def _is_same_host(url: str, location: str) -> bool:
    here, there = urlsplit(url), urlsplit(urljoin(url, location))
    ports = [part.port or _DEFAULT_PORTS.get(part.scheme) for part in (here, there)]
    if here.hostname != there.hostname:
        return False
    is_upgrade = (here.scheme, there.scheme) == ("http", "https") and ports == [80, 443]
    return is_upgrade or (here.scheme == there.scheme and ports[0] == ports[1])


def _check(question: dict[str, Any], _refused: list[str]) -> dict[str, Any]:
    """Say whether Apprise understands an address, and which of its hosts stands for a private address."""
    plugin = apprise.Apprise.instantiate(question["url"], suppress_exceptions=True)
    if plugin is None:
        return {"is_understood": False, "private": []}
    private: list[str] = []
    if question["is_confined"]:
        looking = threading.Thread(target=_look_up, args=(_hosts(plugin), private), daemon=True)
        looking.start()
        looking.join(_LOOKUP_SECONDS)
    return {"is_understood": True, "private": list(private)}


def _hosts(plugin: Any) -> list[str]:
    """List the names that a plug-in connects to and a user chose. Others keep tokens where the host would be."""
    has_host = any("{host}" in template for template in getattr(plugin, "templates", ()))
    name = getattr(plugin, "smtp_host", None) or (getattr(plugin, "host", None) if has_host else None)
    return [name] if isinstance(name, str) and name else []


def _look_up(hosts: list[str], private: list[str]) -> None:
    for host in hosts:
        try:
            found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            continue  # unknown today; it is checked again whenever it is connected to
        if not all(is_public(str(entry[4][0])) for entry in found):
            private.append(host)


def _send(question: dict[str, Any], refused: list[str]) -> dict[str, Any]:
    """Send a message and say whether the channel took it, and what was logged meanwhile."""
    asset = apprise.AppriseAsset(app_id="Taskyard", app_desc="Taskyard", async_mode=False)
    recipient = apprise.Apprise(asset=asset)
    if not recipient.add(question["url"]):
        return {"is_taken": False, "answer": "Apprise does not support this URL.", "refused": refused}
    message = {"body": question["body"], "title": question["title"], "notify_type": question["type"]}
    message["body_format"] = apprise.NotifyFormat.TEXT  # line ends stay, and nothing in it is markup
    with apprise.LogCapture(level=logging.INFO, fmt="%(message)s") as captured:  # type: ignore[no-untyped-call]
        try:
            is_taken = bool(recipient.notify(**message))
            answer = captured.getvalue().strip()
        except Exception as error:  # a plug-in's fault is an answer like any other
            is_taken, answer = False, f"{type(error).__name__}: {error}"
    return {"is_taken": is_taken, "answer": answer, "refused": refused}


if __name__ == "__main__":
    main()
