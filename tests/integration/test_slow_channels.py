"""Channels that answer late or not at all, as real HTTP and mail servers: no message is sent twice, none is lost for 500s."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.integration.smtp import MailServer, mail_server
from workers.domain.actors import Actor
from workers.domain.clock import utcnow
from workers.services import alerting, channels, deliveries, rules
from workers.services.facts import Found
from workers.store import alerts
from workers.yard import Yard

ADA = Actor("user", "ada", "admin")
Answer = Callable[[socket.socket, threading.Event], None]


class Http:
    """A server that reads each request whole, keeps it, and answers as it is told to."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.bodies: list[bytes] = []
        self.is_over = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self._listener.getsockname()[1]}/hook"

    def close(self) -> None:
        self.is_over.set()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            head, _, body = self._read(connection, b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            while len(body) < length:
                body += connection.recv(65536)
            self.bodies.append(body)
            try:
                self._answer(connection, self.is_over)
            except OSError:
                return  # the client has gone

    def _read(self, connection: socket.socket, until: bytes) -> tuple[bytes, bytes, bytes]:
        data = b""
        while until not in data:
            data += connection.recv(65536)
        return data.partition(until)


def nothing(_connection: socket.socket, is_over: threading.Event) -> None:
    is_over.wait(60)


def half_a_body(connection: socket.socket, is_over: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab")
    is_over.wait(60)


def trickle(connection: socket.socket, is_over: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 2")
    is_over.wait(60)


def five_seconds(connection: socket.socket, is_over: threading.Event) -> None:
    is_over.wait(5)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def error(connection: socket.socket, _is_over: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno")


def hang_up(connection: socket.socket, _is_over: threading.Event) -> None:
    connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def open_yard(light_yard: Yard) -> Yard:
    return replace(light_yard, settings=replace(light_yard.settings, allow_private_http=True))


@pytest.fixture
def http(request: pytest.FixtureRequest) -> Iterator[Http]:
    server = Http(request.param)
    yield server
    server.close()


def raise_alert(yard: Yard, url: str) -> str:
    """Raise an alert that goes to this address; the id of its message."""
    channels.create(yard, "ops", url, ADA)
    with yard.database.write() as connection:
        rule = rules.get(connection, "rule-queue_depth")
        found = Found("emails", 1500, "1,500 jobs waiting on emails", "2 workers listening", "/queues/emails")
        alerting.observe(connection, yard, {rule["id"]: (rule, [found])}, utcnow())
        (alert,) = alerts.open_alerts_of(connection, rule["id"])
        (message,) = alerts.deliveries(connection, [alert["id"]])[alert["id"]]
    return str(message["id"])


def delivery(yard: Yard) -> dict[str, Any]:
    with yard.database.read() as connection:
        return dict(connection.execute(alerts.DELIVERIES.select()).mappings().one())


def send_whenever_due(yard: Yard, message: str) -> None:
    """Send it as often as it comes due within some retries, as the workers would."""
    for _ in range(3):
        with yard.database.write() as connection:
            connection.execute(
                alerts.DELIVERIES.update().where(alerts.DELIVERIES.c.status == "pending").values(due_at=utcnow())
            )
        deliveries.send(yard, message)


@pytest.mark.parametrize("http", [nothing, half_a_body, trickle], indirect=True, ids=lambda one: one.__name__)
def test_a_message_that_was_received_and_never_answered_is_not_sent_again(open_yard: Yard, http: Http) -> None:
    message = raise_alert(open_yard, f"{http.url}?rto=1")
    send_whenever_due(open_yard, message)
    assert len(http.bodies) == 1
    row = delivery(open_yard)
    assert (row["status"], row["tries"]) == ("unconfirmed", 1)
    assert "received the message" in row["answer"]


@pytest.mark.parametrize("http", [five_seconds], indirect=True, ids=["5 s"])
def test_an_answer_that_takes_seconds_is_waited_for(open_yard: Yard, http: Http) -> None:
    message = raise_alert(open_yard, http.url)
    send_whenever_due(open_yard, message)
    assert (len(http.bodies), delivery(open_yard)["status"]) == (1, "sent")


@pytest.mark.parametrize("http", [error, hang_up], indirect=True, ids=lambda one: one.__name__)
def test_a_message_that_was_refused_is_sent_again(open_yard: Yard, http: Http) -> None:
    message = raise_alert(open_yard, http.url)
    send_whenever_due(open_yard, message)
    assert (len(http.bodies), delivery(open_yard)["status"]) == (3, "pending")


def test_a_message_that_reached_nobody_is_sent_again(open_yard: Yard) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    message = raise_alert(open_yard, f"json://127.0.0.1:{port}/?rto=1")
    send_whenever_due(open_yard, message)
    assert (delivery(open_yard)["status"], delivery(open_yard)["tries"]) == ("pending", 3)


@pytest.mark.parametrize("http", [nothing], indirect=True, ids=["nothing"])
def test_a_message_is_not_sent_a_second_time_while_the_first_is_under_way(open_yard: Yard, http: Http) -> None:
    message = raise_alert(open_yard, f"{http.url}?rto=3")
    first = threading.Thread(target=deliveries.send, args=(open_yard, message))
    first.start()
    while not http.bodies and first.is_alive():
        time.sleep(0.05)
    for _ in range(3):
        assert deliveries.send(open_yard, message) == (True, "another process sends or has sent it")
        deliveries.send_due(open_yard, 0)
    first.join()
    assert len(http.bodies) == 1


@pytest.mark.parametrize("http", [nothing], indirect=True, ids=["nothing"])
def test_a_call_that_is_ended_from_outside_after_the_message_left_is_not_repeated(
    open_yard: Yard, http: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workers.broker import channel_calls

    monkeypatch.setattr(channel_calls, "SECONDS", 20.0)
    message = raise_alert(open_yard, http.url)
    send_whenever_due(open_yard, message)
    assert (len(http.bodies), delivery(open_yard)["status"]) == (1, "unconfirmed")


class SlowMail(MailServer):
    """A mail server that is silent from one of its replies on."""

    silent_from = ""

    def __init__(self) -> None:
        super().__init__()
        self.RequestHandlerClass = _SlowTalk
        self.is_over = threading.Event()


def _slow_talk() -> Any:
    from tests.integration.smtp import _Talk

    class Talk(_Talk):
        server: SlowMail
        heard = ""

        def _answer(self, word: str, text: str) -> bool:
            self.heard = word.split(" ")[0].split(":")[0]
            return super()._answer(word, text)

        def _say(self, words: str) -> None:
            name = {"250 ok": "MESSAGE"}.get(words, self.heard) if self.heard == "DATA" else self.heard
            if words.startswith("221"):
                name = "QUIT"
            if name == self.server.silent_from:
                self.server.is_over.wait(60)
            super()._say(words)

    return Talk


_SlowTalk = _slow_talk()


@pytest.fixture
def mail() -> Iterator[SlowMail]:
    with SlowMail() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.is_over.set()
        server.shutdown()


def mail_url(port: int, options: str = "") -> str:
    return (
        f"mailto://user:pw@127.0.0.1:{port}?smtp=127.0.0.1&from=a@example.org&to=b@example.org&mode=insecure{options}"
    )


@pytest.mark.parametrize(
    ("silent_from", "status", "mails"),
    [("MAIL", "pending", 0), ("DATA", "pending", 0), ("MESSAGE", "unconfirmed", 1), ("QUIT", "sent", 1)],
)
def test_a_mail_is_sent_again_only_if_the_server_does_not_have_it(
    open_yard: Yard, mail: SlowMail, silent_from: str, status: str, mails: int
) -> None:
    mail.silent_from = silent_from
    message = raise_alert(open_yard, mail_url(mail.port, "&cto=4"))
    send_whenever_due(open_yard, message)
    row = delivery(open_yard)
    assert (row["status"], len(mail.mails)) == (status, mails), row["answer"]


def test_a_mail_arrives_with_everything_that_a_person_needs(open_yard: Yard) -> None:
    with mail_server() as server:
        settings = replace(open_yard.settings, site_name="Shop", public_url="https://jobs.example.org")
        message = raise_alert(replace(open_yard, settings=settings), mail_url(server.port))
        assert deliveries.send(open_yard, message)[0]
        (text,) = server.mails
    assert "Subject: [Shop] 1,500 jobs waiting on emails" in text
    assert "https://jobs.example.org/queues/emails" in text
