"""Whether a message has left this process while its answer is still missing.

A channel that receives a message and answers late must not be sent it again. So the libraries below Apprise's plug-ins are
watched: a message has left once an HTTP request or the data of a mail is written, and is answered when the answer is read.
A connection that breaks counts as an answer; only silence does not.
"""

from __future__ import annotations

import http.client
import smtplib
from collections.abc import Callable
from typing import Any

import requests

_SENDING = {"POST", "PUT", "PATCH"}
_END_OF_MAIL = b"\r\n.\r\n"


class Handover:
    """Knows whether an answer is awaited; `report` is called with each change, for when this process is killed."""

    def __init__(self, report: Callable[[bool], None]) -> None:
        self._report = report
        self.is_awaiting = False

    def watch(self) -> None:
        """Watch `requests`, `http.client` and `smtplib` from now on, for as long as this process lives."""
        self._watch_http()
        self._watch_mail()

    def _set(self, is_awaiting: bool) -> None:
        if is_awaiting != self.is_awaiting:
            self.is_awaiting = is_awaiting
            self._report(is_awaiting)

    def _end(self, error: BaseException | None = None) -> None:
        """Note an answer, or an error that is not a silence."""
        if error is None or not _is_silence(error):
            self._set(False)

    def _watch_http(self) -> None:
        read_answer = http.client.HTTPConnection.getresponse
        send_request = requests.Session.send

        def getresponse(connection: Any, *args: Any, **options: Any) -> Any:
            is_sending = getattr(connection, "_method", "") in _SENDING
            if is_sending:
                self._set(True)
            try:
                answer = read_answer(connection, *args, **options)
            except BaseException as error:
                self._end(error)
                raise
            if answer.status >= 300:
                self._end()
            return answer

        def send(session: Any, *args: Any, **options: Any) -> Any:
            try:
                answer = send_request(session, *args, **options)
            except BaseException as error:
                self._end(error)
                raise
            self._end()
            return answer

        http.client.HTTPConnection.getresponse = getresponse  # type: ignore[method-assign]
        requests.Session.send = send  # type: ignore[method-assign]

    def _watch_mail(self) -> None:
        write, send_data, quit_server = smtplib.SMTP.send, smtplib.SMTP.data, smtplib.SMTP.quit

        def send(server: Any, text: Any) -> None:
            write(server, text)
            if isinstance(text, bytes) and text.endswith(_END_OF_MAIL):
                self._set(True)

        def data(server: Any, message: Any) -> Any:
            try:
                reply = send_data(server, message)
            except BaseException as error:
                self._end(error)
                raise
            self._end()
            return reply

        def leave(server: Any) -> Any:
            try:
                return quit_server(server)
            except (OSError, smtplib.SMTPException) as error:
                # The mail is taken or refused by now: a server that is slow to say goodbye changes nothing.
                server.close()
                return 221, str(error).encode()

        smtplib.SMTP.send = send  # type: ignore[method-assign]
        smtplib.SMTP.data = data  # type: ignore[method-assign]
        smtplib.SMTP.quit = leave  # type: ignore[method-assign]


def _is_silence(error: BaseException) -> bool:
    """Return whether an error comes from a time limit, however the libraries have wrapped it."""
    seen: set[int] = set()
    waiting: list[BaseException] = [error]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, TimeoutError | requests.exceptions.ReadTimeout):
            return True
        waiting += [part for part in (one.__cause__, one.__context__, *one.args) if isinstance(part, BaseException)]
    return False
