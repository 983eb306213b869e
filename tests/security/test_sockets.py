"""Live connections: only the live protocol is spoken, within bounds, and only while the right to listen lasts."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import websocket

from dashboard.live import RECHECK_SECONDS
from dashboard.live_server import MAX_OF_OWNER, MAX_UNJOINED_OF_ADDRESS
from tests.people import PASSWORD
from tests.security.serving import Web, read_to_end, serving, status_of
from tests.support import eventually
from workers.domain.actors import Actor
from workers.services import tokens, users
from workers.store import tokens as token_rows
from workers.yard import Yard

TESTS = Actor("system", "tests", "admin")
MEGABYTE = 1_000_000


def make_token(yard: Yard, role: str = "viewer") -> str:
    return tokens.create(yard, "a token", role, None, TESTS)


def revoke_all(yard: Yard) -> None:
    with yard.database.read() as connection:
        rows = token_rows.all_tokens(connection)
    for row in rows:
        if row["revoked_at"] is None:
            tokens.revoke(yard, row["id"], TESTS)


class Client:
    """A Socket.IO client that says whatever a test wants."""

    def __init__(self, web: Web, token: str | None, namespace: str = "/live") -> None:
        url = f"ws://127.0.0.1:{web.port}/socket.io/?EIO=4&transport=websocket"
        self.ws = websocket.create_connection(url, timeout=10)
        self.ws.recv()
        auth = json.dumps({"token": token}) if token else ""
        self.ws.send(f"40{namespace},{auth}")
        self.answer = self.ws.recv()

    @property
    def is_joined(self) -> bool:
        return self.answer.startswith("40/live,")

    def send(self, packet: str) -> None:
        self.ws.send(packet)

    def ask(self, event: str, data: Any) -> Any:
        self.ws.send(f"42/live,1{json.dumps([event, data])}")
        return json.loads(self._next("43/live,1").removeprefix("43/live,1"))[0]

    def _next(self, start: str) -> str:
        while not (packet := self.ws.recv()).startswith(start):
            if packet == "2":
                self.ws.send("3")
        return packet

    def is_closed(self, within: float = 5) -> bool:
        self.ws.settimeout(within)
        until = time.monotonic() + within
        try:
            while time.monotonic() < until:
                packet = self.ws.recv()
                if packet in {"1", "", b""} or packet.startswith("41/live"):
                    return True
        except (websocket.WebSocketTimeoutException, TimeoutError):
            return False
        except (OSError, websocket.WebSocketException):
            return True
        return False


def test_a_client_with_a_token_watches_and_one_without_is_refused(module_web: Web, module_yard: Yard) -> None:
    client = Client(module_web, make_token(module_yard))
    assert client.is_joined
    assert client.ask("watch", {"rooms": ["jobs"]}) == {"ok": True, "rooms": ["jobs"]}
    assert not Client(module_web, None).is_joined
    assert not Client(module_web, "ty_invented").is_joined


PACKETS = {
    "an event named disconnect": '42/live,["disconnect"]',
    "an event named disconnect with an id": '42/live,7["disconnect","x"]',
    "an event named connect": '42/live,["connect",{"token":"x"}]',
    "an unknown event": '42/live,["publish",{"a":1}]',
    "an event that starts with an underscore": '42/live,["_relay"]',
    "an event that is a number": "42/live,[1]",
    "an empty event": "42/live,[]",
    "an event that is an object": '42/live,{"a":1}',
    "an event of another namespace": '42["watch",{"rooms":["jobs"]}]',
    "another namespace": "40/other,",
    "the default namespace": "40",
    "a binary event": '451-/live,["watch",{"_placeholder":true,"num":0}]',
    "an acknowledgement": '43/live,1["x"]',
    "an error": '44/live,{"message":"x"}',
    "broken JSON": '42/live,["watch",',
    "deep JSON": "42/live,[" + "[" * 5_000,
    "an unknown packet": "49/live,",
}


@pytest.mark.parametrize("name", PACKETS)
def test_a_packet_outside_of_the_protocol_ends_the_connection(module_web: Web, module_yard: Yard, name: str) -> None:
    client = Client(module_web, make_token(module_yard))
    client.send(PACKETS[name])
    assert client.is_closed()
    assert "Traceback" not in module_web.log()


def test_a_made_up_disconnect_does_not_outlive_a_revoked_token(module_web: Web, module_yard: Yard) -> None:
    client = Client(module_web, make_token(module_yard))
    assert client.ask("watch", {"rooms": ["channel:prices"]})["ok"]
    with contextlib.suppress(OSError, websocket.WebSocketException):
        client.send('42/live,["disconnect"]')
    revoke_all(module_yard)
    assert client.is_closed(within=30)


def test_a_revoked_token_ends_its_connection(module_web: Web, module_yard: Yard) -> None:
    client = Client(module_web, make_token(module_yard))
    revoke_all(module_yard)
    assert client.is_closed(within=30)


def upgrade(web: Web) -> socket.socket:
    client = web.connect()
    key = base64.b64encode(os.urandom(16)).decode()
    client.sendall(
        f"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    assert status_of(client.recv(4096)) == 101
    return client


def frame(size: int, *, opcode: int, is_last: bool) -> bytes:
    """Return the head of a masked frame of this size."""
    return struct.pack("!BBQ", (0x80 if is_last else 0) | opcode, 0x80 | 127, size) + b"\x00" * 4


@pytest.mark.parametrize("kind", ["one frame", "fragments", "small fragments"])
def test_a_large_message_is_not_kept(module_web: Web, kind: str) -> None:
    before = module_web.memory_bytes()
    sent = 0
    with upgrade(module_web) as client, contextlib.suppress(OSError):
        if kind == "one frame":
            client.sendall(frame(150 * MEGABYTE, opcode=1, is_last=True))
            while sent < 150 * MEGABYTE:
                client.sendall(b"a" * 65_536)
                sent += 65_536
        else:
            size = 50_000 if kind == "fragments" else 100
            while sent < 100 * MEGABYTE:
                client.sendall(frame(size, opcode=0 if sent else 1, is_last=False) + b"a" * size)
                sent += size
    assert sent < 20 * MEGABYTE
    assert module_web.memory_bytes() - before < 30 * MEGABYTE
    assert module_web.health_seconds() < 3


def test_a_flood_of_messages_ends_the_connection_and_holds_up_nobody(module_web: Web, module_yard: Yard) -> None:
    before = module_web.memory_bytes()
    client = Client(module_web, make_token(module_yard))
    packet = '42/live,["watch",{"rooms":["jobs"]}]'
    sent = 0
    with contextlib.suppress(OSError, websocket.WebSocketException):
        while sent < 60_000:
            client.send(packet)
            sent += 1
    assert sent < 60_000
    assert client.is_closed()
    assert module_web.health_seconds() < 3
    assert module_web.memory_bytes() - before < 30 * MEGABYTE


def test_a_few_messages_in_a_row_are_answered(module_web: Web, module_yard: Yard) -> None:
    client = Client(module_web, make_token(module_yard))
    for n in range(50):
        assert client.ask("watch", {"rooms": [f"channel:{n}"]})["ok"]


def test_a_polling_client_cannot_send_a_large_body(module_web: Web) -> None:
    url = f"{module_web.address}/socket.io/?EIO=4&transport=polling"
    sid = json.loads(httpx.get(url).text[1:])["sid"]
    answer = httpx.post(f"{url}&sid={sid}", content=b"4" + b"a" * 2_000_000)
    assert answer.status_code in {400, 413}


def test_a_connection_that_never_joins_is_closed(module_web: Web) -> None:
    ws = websocket.create_connection(
        f"ws://127.0.0.1:{module_web.port}/socket.io/?EIO=4&transport=websocket", timeout=30
    )
    ws.recv()
    start = time.monotonic()
    with contextlib.suppress(OSError, websocket.WebSocketException):
        while ws.recv() not in {"1", ""}:
            pass
    assert time.monotonic() - start < 20


def test_strangers_cannot_pile_up_connections_by_polling(web: Web) -> None:
    url = f"{web.address}/socket.io/?EIO=4&transport=polling"
    with httpx.Client() as client:
        codes = [client.get(url).status_code for _ in range(260)]
    assert codes[0] == 200
    assert codes[-1] == 503


def test_what_a_client_does_not_read_is_not_kept(web: Web, light_yard: Yard) -> None:
    before = web.memory_bytes()
    client = Client(web, make_token(light_yard))
    assert client.ask("watch", {"rooms": ["channel:flood"]})["ok"]
    text = "x" * 20_000

    def publish() -> None:
        for _ in range(50):
            light_yard.live.publish({"type": "published", "channel": "flood", "event": "e", "data": text})

    for _ in range(60):
        publish()
        time.sleep(0.02)

    def is_released() -> None:
        assert web.memory_bytes() - before < 40 * MEGABYTE

    eventually(is_released, within=30)
    assert web.health_seconds() < 3


def test_raw_bytes_after_an_upgrade_end_the_connection_quietly(module_web: Web) -> None:
    with upgrade(module_web) as client:
        client.sendall(os.urandom(20_000))
        client.settimeout(15)
        read_to_end(client)
    assert "Traceback" not in module_web.log()
    assert module_web.health_seconds() < 3


# The frames below the messages.


def small_frame(opcode: int, payload: bytes = b"", *, is_last: bool = True, rsv1: bool = False) -> bytes:
    first = (0x80 if is_last else 0) | (0x40 if rsv1 else 0) | opcode
    return struct.pack("!BB", first, 0x80 | len(payload)) + b"\x00" * 4 + payload


def has_ended(client: socket.socket) -> bool:
    """Read until the other side ends the connection; False when the time limit of the socket is over before."""
    try:
        while client.recv(65_536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


FLOODS = {
    "pings": small_frame(9, b"x" * 100),
    "pongs": small_frame(10),
    "empty fragments": small_frame(0, is_last=False),
    "short messages": small_frame(1, b"3"),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_of_frames_of_any_kind_ends_the_connection(module_web: Web, kind: str) -> None:
    before = module_web.memory_bytes()
    with upgrade(module_web) as client:
        client.settimeout(15)
        with contextlib.suppress(OSError):
            if kind == "empty fragments":
                client.sendall(small_frame(1, b"2", is_last=False))
            for _ in range(200):
                client.sendall(FLOODS[kind] * 100)
        assert has_ended(client)
    assert module_web.health_seconds() < 3
    assert module_web.memory_bytes() - before < 30 * MEGABYTE


def test_compression_is_not_accepted(module_web: Web) -> None:
    with module_web.connect() as client:
        key = base64.b64encode(os.urandom(16)).decode()
        client.sendall(
            f"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
            f"Connection: keep-alive, Upgrade\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        head = client.recv(4096)
        assert status_of(head) == 101
        assert b"permessage-deflate" not in head
        client.sendall(small_frame(1, b"\x00" * 50, rsv1=True))
        client.settimeout(10)
        read_to_end(client)


@pytest.mark.parametrize("name", ["Sec-WebSocket-Key", "Sec-WebSocket-Version", "Connection"])
def test_an_incomplete_handshake_is_a_bad_request(module_web: Web, name: str) -> None:
    headers = {
        "Host": "a",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": base64.b64encode(b"x" * 16).decode(),
        "Sec-WebSocket-Version": "13",
    }
    del headers[name]
    lines = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
    answer = module_web.send(f"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n{lines}\r\n".encode(), timeout=5)
    assert status_of(answer) == 400
    assert "Traceback" not in module_web.log()


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1", "http://127.0.0.1:1"])
def test_a_page_of_another_origin_cannot_connect(module_web: Web, origin: str) -> None:
    url = f"{module_web.address}/socket.io/?EIO=4&transport=polling"
    assert httpx.get(url, headers={"Origin": origin}).status_code == 403
    assert httpx.get(url, headers={"Origin": origin, "X-Forwarded-Host": "evil.example"}).status_code == 403


# Polling.


class Poller:
    """A client that polls and posts."""

    def __init__(self, web: Web) -> None:
        self.url = f"{web.address}/socket.io/?EIO=4&transport=polling"
        self.http = httpx.Client(timeout=10)
        answer = self.http.get(self.url)
        assert answer.status_code == 200, answer.text
        self.url += "&sid=" + json.loads(answer.text[1:])["sid"]

    def post(self, content: Any) -> int:
        return self.http.post(self.url, content=content).status_code

    def join(self, token: str) -> None:
        assert self.post(b"40/live," + json.dumps({"token": token}).encode()) == 200
        assert self.http.get(self.url).text.startswith("40/live,")

    def is_closed(self) -> bool:
        return self.post(b"3") == 400


@pytest.fixture
def poller(module_web: Web) -> Iterator[Poller]:
    """Open a session by polling; closed at the end, so that the next test finds room."""
    opened = Poller(module_web)
    yield opened
    opened.post(b"1")


BODIES = {
    "more packets than a payload has": b"\x1e".join([b"3"] * 17),
    "binary as base64": b"bAAAA",
    "a form of JSONP": b"d=4",
    "an empty body": b"",
    "an empty packet": b"3\x1e\x1e3",
    "an unknown packet": b"9",
    "a noop": b"6",
    "an open packet": b"0{}",
    "no UTF-8": b"4\xff\xfe",
    "a binary event": b"451-/live,[]",
    "deep JSON in a ping": b"2" + b"[" * 10_000,
}


@pytest.mark.parametrize("name", BODIES)
def test_a_polled_body_outside_of_the_protocol_is_refused(module_web: Web, poller: Poller, name: str) -> None:
    assert poller.post(BODIES[name]) == 400
    assert "Traceback" not in module_web.log()


def test_a_polled_body_in_chunks_is_bounded(module_web: Web, poller: Poller) -> None:
    before = module_web.memory_bytes()
    sent = 0

    def chunks() -> Any:
        nonlocal sent
        yield b"4"
        while sent < 100 * MEGABYTE:
            sent += 65_536
            yield b"a" * 65_536

    with contextlib.suppress(httpx.HTTPError):
        assert poller.post(chunks()) == 413
    assert sent < 20 * MEGABYTE
    assert module_web.memory_bytes() - before < 30 * MEGABYTE


def test_what_a_poller_sends_too_fast_ends_its_session(module_yard: Yard, poller: Poller) -> None:
    poller.join(make_token(module_yard))
    body = b"\x1e".join([b'42/live,["watch",{"rooms":["jobs"]}]'] * 16)
    codes = [poller.post(body) for _ in range(30)]
    assert codes[0] == 200
    assert codes[-1] == 400


def test_what_a_poller_does_not_fetch_is_dropped_with_it(web: Web, light_yard: Yard) -> None:
    before = web.memory_bytes()
    poller = Poller(web)
    poller.join(make_token(light_yard))
    assert poller.post(b'42/live,["watch",{"rooms":["channel:flood"]}]') == 200

    def is_dropped() -> None:
        for _ in range(50):
            light_yard.live.publish({"type": "published", "channel": "flood", "event": "e", "data": "x" * 20_000})
        assert poller.is_closed()

    eventually(is_dropped, within=20)
    assert web.memory_bytes() - before < 40 * MEGABYTE


def test_a_session_that_never_joins_by_polling_is_closed(poller: Poller) -> None:
    def is_gone() -> None:
        assert poller.is_closed()

    eventually(is_gone, within=25, every=1)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE"])
def test_another_method_is_not_allowed(module_web: Web, method: str) -> None:
    assert httpx.request(method, f"{module_web.address}/socket.io/?EIO=4&transport=polling").status_code == 405


QUERIES = ["", "EIO=3", "EIO=4&transport=bogus", "EIO=4&sid=invented", "EIO=4&transport=polling&j=0", "EIO=4&transport=websocket",
           "EIO=4&transport=polling&sid=", "&".join(["a=b"] * 100)]  # fmt: skip


@pytest.mark.parametrize("query", QUERIES)
def test_an_odd_query_is_a_bad_request(module_web: Web, query: str) -> None:
    for method in ("GET", "POST"):
        status = httpx.request(method, f"{module_web.address}/socket.io/?{query}", content=b"3").status_code
        assert status == 400 or (status == 200 and query.startswith("EIO=4&transport=polling&sid="))
    assert "Traceback" not in module_web.log()


# How many connections.


def test_strangers_of_one_address_cannot_take_every_place(web: Web, light_yard: Yard) -> None:
    url = f"{web.address}/socket.io/?EIO=4&transport=polling"
    with httpx.Client() as http:
        answers = [http.get(url) for _ in range(MAX_UNJOINED_OF_ADDRESS + 5)]
    assert [answer.status_code for answer in answers][-1] == 503
    assert answers[-1].headers["Retry-After"]
    assert answers[-1].json()["status"] == 503

    def is_free_again() -> None:
        with contextlib.suppress(websocket.WebSocketBadStatusException):
            assert Client(web, make_token(light_yard)).is_joined
            return
        raise AssertionError("The places are still taken.")

    eventually(is_free_again, within=20, every=1)


def test_strangers_of_many_addresses_take_no_place_from_users(light_yard: Yard, tmp_path: Path) -> None:
    with serving(light_yard, tmp_path, open_files=256) as web, contextlib.ExitStack() as held:
        url = f"ws://127.0.0.1:{web.port}/socket.io/?EIO=4&transport=websocket"
        for number in range(200):
            own = (f"127.0.2.{number // 10 + 1}", 0)
            sock = socket.create_connection(("127.0.0.1", web.port), timeout=10, source_address=own)
            held.callback(sock.close)
            with contextlib.suppress(websocket.WebSocketException, OSError):
                websocket.create_connection(url, timeout=10, socket=sock)
        assert web.health_seconds() < 5
        assert Client(web, make_token(light_yard)).is_joined


def test_one_token_has_a_number_of_connections_and_another_has_its_own(web: Web, light_yard: Yard) -> None:
    token = make_token(light_yard)
    clients = [Client(web, token) for _ in range(MAX_OF_OWNER)]
    assert all(client.is_joined for client in clients)
    extra = Client(web, token)
    assert not extra.is_joined
    assert "limit of live connections" in extra.answer
    assert Client(web, make_token(light_yard)).is_joined
    clients.pop().ws.close()

    def has_room() -> None:
        assert Client(web, token).is_joined

    eventually(has_room, within=10, every=0.5)


def test_a_refused_client_has_one_attempt_for_a_connection(module_web: Web) -> None:
    assert Client(module_web, "ty_invented").is_closed()


# The right to listen.


def session_client(web: Web, name: str) -> websocket.WebSocket:
    http = httpx.Client(base_url=web.address)
    page = http.get("/sign-in").text
    found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page)
    data = {"name": name, "password": PASSWORD, **({"csrf_token": found[1]} if found else {})}
    assert http.post("/sign-in", data=data).status_code == 303
    cookies = "; ".join(f"{key}={value}" for key, value in http.cookies.items())
    ws = websocket.create_connection(
        f"ws://127.0.0.1:{web.port}/socket.io/?EIO=4&transport=websocket", timeout=10, cookie=cookies
    )
    ws.recv()
    ws.send("40/live,")
    assert str(ws.recv()).startswith("40/live,")
    return ws


ENDINGS = {
    "locked": lambda yard: users.change(yard, "vera", TESTS, disabled=True),
    "another role": lambda yard: users.change(yard, "vera", TESTS, role="operator"),
    "another password": lambda yard: users.set_password(yard, "vera", "a quite different passphrase", TESTS),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_socket_of_a_session_ends_with_it(web: Web, light_yard: Yard, ending: str) -> None:
    ws = session_client(web, "vera")
    ENDINGS[ending](light_yard)
    client = Client.__new__(Client)
    client.ws = ws
    assert client.is_closed(within=RECHECK_SECONDS + 15)
