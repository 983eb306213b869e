"""Calls that users aim reach public addresses only, and take no credential along to another host."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from typing import Any

import httpx
import pytest
from flask import Flask
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tests.conftest import ROOT
from workers.broker import outgoing
from workers.broker.connect_guard import ConnectionRefusedByGuard, public_only
from workers.domain.actors import Actor
from workers.domain.addresses import Refused, check_url, is_public, literal_address
from workers.domain.errors import BadInput
from workers.services import channels
from workers.yard import Yard

PRIVATE = (
    "127.0.0.1 127.255.255.254 0.0.0.0 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 169.254.169.254 100.64.0.1 "
    "198.18.0.1 192.0.0.1 192.0.2.1 198.51.100.1 203.0.113.1 224.0.0.1 240.0.0.1 255.255.255.255 192.88.99.1 ::1 :: "
    "::127.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 fe80::1 fe80::1%eth0 fc00::1 fd00::1 fec0::1 ff02::1 2001:db8::1 "
    "64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::1 2002:7f00:1:: 2002:0a00:0001:: 2001::1 100::1 3fff::1"
).split()
PUBLIC = "1.1.1.1 8.8.8.8 93.184.216.34 2606:4700:4700::1111 2002:0808:0808:: 64:ff9b::808:808 ::ffff:8.8.8.8".split()
LOOPBACK_SPELLINGS = (
    "127.0.0.1 127.1 127.0.1 0x7f000001 0x7f.1 2130706433 017700000001 0177.0.0.1 [::1] [::ffff:127.0.0.1] 127.0.0.1. "
    "localhost LOCALHOST localhost. a.localhost １２７.0.0.1 ⓛocalhost 0 0.0.0.0 [::] [::ffff:7f00:1]"
).split()


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_public_is_known(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_known(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("host", LOOPBACK_SPELLINGS)
def test_every_spelling_of_a_private_address_is_refused_before_it_is_resolved(host: str) -> None:
    with pytest.raises(Refused):
        check_url(f"http://{host}/x", allow_private=False)
    assert check_url(f"http://{host}:8080/x", allow_private=True)


@pytest.mark.parametrize(
    "url",
    ["ftp://a.example/", "file:///etc/passwd", "gopher://a/", "//a.example", "a.example", "http://", "http:///x", "http://u:p@a.example/",
     "http://a.example/\r\nX: y", "http://a.example/ x", "http://[", "http://a:b:c/", "http://a.example:99999/", "http://a/" + "x" * 3000, ""],
)  # fmt: skip
def test_what_is_no_plain_web_address_is_refused(url: str) -> None:
    with pytest.raises(Refused):
        check_url(url, allow_private=True)


def test_a_name_is_not_taken_for_an_address() -> None:
    assert literal_address("a.example") is None
    assert literal_address("cafe.example") is None
    assert check_url("https://hooks.example/x?y=127.0.0.1", allow_private=False)


@pytest.fixture
def listener() -> Any:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_a_guarded_call_cannot_connect_inside_in_any_way(listener: socket.socket) -> None:
    address = listener.getsockname()
    with public_only() as refused:
        for attempt in (
            lambda: socket.create_connection(address, timeout=2),
            lambda: socket.socket().connect(address),
            lambda: socket.socket().connect_ex(address),
            lambda: socket.socket().connect(("localhost", address[1])),
            lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", address),
            lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("localhost", 514)),
            lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendmsg([b"x"], [], 0, address),
            lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(("127.0.0.1", 514)),
            lambda: socket.socket(socket.AF_UNIX).connect("/run/systemd/journal/socket"),
            lambda: socket.socket(socket.AF_INET6).connect(("::1", address[1])),
            lambda: httpx.get(f"http://127.0.0.1:{address[1]}/", timeout=2),
            lambda: subprocess.run(["true"], check=False),
        ):
            with pytest.raises((ConnectionRefusedByGuard, httpx.ConnectError)):
                attempt()
    assert len(refused) >= 12


def test_the_guard_restricts_nobody_else(listener: socket.socket) -> None:
    address = listener.getsockname()
    connected = threading.Event()
    go = threading.Event()

    def connect() -> None:
        go.wait(5)
        socket.create_connection(address, timeout=2).close()
        connected.set()

    other = threading.Thread(target=connect)
    other.start()
    with public_only():
        go.set()
        assert connected.wait(5)
    other.join()
    socket.create_connection(address, timeout=2).close()


UNDER_GEVENT = """
from gevent import monkey; monkey.patch_all()
import socket, gevent
from workers.broker.connect_guard import ConnectionRefusedByGuard, public_only
server = socket.create_server(("127.0.0.1", 0))
address = server.getsockname()
refused = 0
with public_only():
    for attempt in (lambda: socket.create_connection(address), lambda: socket.socket().connect_ex(address),
                    lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", address)):
        try:
            attempt()
        except ConnectionRefusedByGuard:
            refused += 1
    free = gevent.spawn(socket.create_connection, address)
socket.create_connection(address).close()
print(refused)
"""


def test_the_guard_holds_under_gevent_too() -> None:
    done = subprocess.run(
        [sys.executable, "-c", UNDER_GEVENT], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stdout.strip() == "3", done.stderr


def test_credentials_do_not_follow_to_another_host(httpserver: HTTPServer) -> None:
    seen: list[Any] = []

    def target(request: Request) -> Response:
        seen.append(dict(request.headers))
        return Response("ok")

    with HTTPServer(host="127.0.0.1") as other:
        other.expect_request("/there").respond_with_handler(target)
        httpserver.expect_request("/go").respond_with_data(
            "", status=302, headers={"Location": other.url_for("/there")}
        )
        sent = {
            "X-Api-Key": "hunter2",
            "Authorization": "Bearer x",
            "Cookie": "a=b",
            "X-Custom": "secret",
            "Accept": "text/plain",
        }
        with outgoing.stream("GET", httpserver.url_for("/go"), allow_private=True, headers=sent) as answer:
            assert answer.status_code == 200
    headers = {name.lower(): value for name, value in seen[0].items()}
    assert headers["accept"] == "text/plain"
    assert not {"x-api-key", "authorization", "cookie", "x-custom"} & set(headers)


def test_credentials_follow_on_the_same_host(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/go").respond_with_data("", status=302, headers={"Location": "/there"})
    httpserver.expect_request("/there", headers={"X-Api-Key": "hunter2"}).respond_with_data("ok")
    with outgoing.stream(
        "GET", httpserver.url_for("/go"), allow_private=True, headers={"X-Api-Key": "hunter2"}
    ) as answer:
        assert answer.status_code == 200


@pytest.mark.parametrize("status", [307, 308])
def test_a_body_does_not_follow_to_another_host(httpserver: HTTPServer, status: int) -> None:
    httpserver.expect_request("/go").respond_with_data(
        "", status=status, headers={"Location": "http://127.0.0.2:1/there"}
    )
    with (
        pytest.raises(Refused, match="another host"),
        outgoing.stream("POST", httpserver.url_for("/go"), allow_private=True, content=b"secret"),
    ):
        pass


def test_an_answer_that_trickles_ends(httpserver: HTTPServer) -> None:
    import time

    def trickle(_request: Request) -> Response:
        def pieces() -> Any:
            for _ in range(100):
                yield b"x"
                time.sleep(0.1)

        return Response(pieces())

    httpserver.expect_request("/slow").respond_with_handler(trickle)
    with (
        outgoing.stream("GET", httpserver.url_for("/slow"), allow_private=True) as answer,
        pytest.raises(httpx.ReadTimeout),
    ):
        outgoing.read_bounded(answer, 1000, within_seconds=0.5)


@pytest.mark.parametrize("host", LOOPBACK_SPELLINGS)
def test_a_private_callback_is_refused_at_submission(app: Flask, auth: Any, host: str) -> None:
    header, client = auth.token("operator"), app.test_client()
    body = {"task": "samples.noop", "callback_url": f"http://{host}/x"}
    answer = client.post("/api/v1/jobs", json=body, headers=header)
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "callback_url")
    assert client.post("/api/v1/jobs/bulk", json={"jobs": [body]}, headers=header).status_code == 422


@pytest.mark.parametrize(("task", "field"), [("http.request", "url"), ("datasets.process", "source")])
def test_a_private_address_in_a_payload_is_refused_at_submission(app: Flask, auth: Any, task: str, field: str) -> None:
    for host in LOOPBACK_SPELLINGS:
        body = {"task": task, "payload": {field: f"http://{host}/x"}}
        answer = app.test_client().post("/api/v1/jobs", json=body, headers=auth.token("operator"))
        assert answer.status_code == 422, host
        assert answer.json["errors"][0]["field"] == f"payload.{field}"


ADA = Actor("system", "tests", "admin")


@pytest.mark.parametrize(
    "url",
    [
        "syslog://localhost",
        "rsyslog://127.0.0.1",
        "rsyslog://logs.example",
        "dbus://",
        "gnome://",
        "macosx://",
        "windows://",
        "mqtt://127.0.0.1/topic",
        "file:///etc/passwd",
        "mailto://user:pw@example.org?smtp=127.0.0.1",
        "mailtos://user:pw@example.org?smtp=localhost&to=a@example.org",
        "json://127.0.0.1/x",
        "json://localhost:8080/x",
        "json://2130706433/x",
        "jsons://user:pw@127.1/x",
        "xml://[::1]/x",
        "ntfy://127.0.0.1/topic",
        "json://[",
    ],
)
def test_a_channel_that_leads_inside_cannot_be_made(light_yard: Yard, url: str) -> None:
    with pytest.raises(BadInput):
        channels.create(light_yard, "a channel", url, ADA)


def test_a_channel_that_leads_outside_can_be_made(light_yard: Yard) -> None:
    assert channels.create(light_yard, "hook", "jsons://hooks.example/x", ADA).name == "hook"
    assert channels.create(light_yard, "mail", "mailtos://user:pw@example.org?to=a@example.org", ADA).name == "mail"


def test_a_channel_whose_name_resolves_inside_sends_nothing(light_yard: Yard, httpserver: HTTPServer) -> None:
    # `localhost` stands for any name that resolves to a private address; it is put in as an old row would be.
    channel = channels.Channel("c", "old", f"json://localhost:{httpserver.port}/x", is_ours=True)
    taken, answer = channels.send(light_yard.settings, channel, "title", "body", "info")
    assert not taken
    assert "private or loopback" in answer
    assert httpserver.log == []


@pytest.mark.parametrize("url", ["rsyslog://127.0.0.1", "syslog://", "mailto://u:p@example.org?smtp=127.0.0.1"])
def test_channels_of_other_kinds_that_exist_already_reach_nothing_inside(light_yard: Yard, url: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trap:
        trap.bind(("127.0.0.1", 0))
        trap.settimeout(0.3)
        target = url.replace("rsyslog://127.0.0.1", f"rsyslog://127.0.0.1:{trap.getsockname()[1]}")
        channels.send(light_yard.settings, channels.Channel("c", "old", target, is_ours=True), "t", "b", "info")
        with pytest.raises(TimeoutError):
            trap.recv(10)


def test_a_payload_that_is_private_may_be_sent_when_that_is_allowed(light_yard: Yard) -> None:
    assert json.loads("{}") == {}
    assert check_url("http://127.0.0.1/", allow_private=True) == "http://127.0.0.1/"
