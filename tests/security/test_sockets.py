"""Live connections: only the live protocol is spoken, within bounds, and only while the right to listen lasts."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import struct
import time
from typing import Any

import httpx
import pytest
import websocket

from tests.security.serving import Web, read_to_end, status_of
from tests.support import eventually
from workers.domain.actors import Actor
from workers.services import tokens
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
    assert codes[-1] in {401, 503}


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
