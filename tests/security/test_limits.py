"""Limits hold while data arrives, whatever its headers promise: bodies, heads, connections."""

from __future__ import annotations

import contextlib
import socket
import time
from pathlib import Path

import pytest

from tests.security.serving import Web, read_to_end, serving, status_of
from tests.support import eventually
from workers.yard import Yard

MEGABYTE = 1_000_000
CHUNK = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"


def send_until_refused(client: socket.socket, piece: bytes, total: int) -> int:
    """Send pieces until the server closes the connection or all is sent; the bytes that it took."""
    sent = 0
    with contextlib.suppress(OSError):
        while sent < total:
            client.sendall(piece)
            sent += len(piece)
    return sent


@pytest.mark.parametrize(
    "path", ["/sign-in", "/api/v1/jobs", "/api/v1/jobs/bulk", "/tasks/samples.noop/run", "/nowhere"]
)
@pytest.mark.parametrize(
    "kind", ["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "text/plain"]
)
def test_an_endless_chunked_body_of_a_stranger_is_cut_off_early(module_web: Web, path: str, kind: str) -> None:
    before = module_web.memory_bytes()
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Type: {kind}\r\n\r\n"
    part = b""
    if kind.startswith("multipart"):
        lines = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
        part = b"%x\r\n%s\r\n" % (len(lines), lines)
    with module_web.connect() as client:
        client.sendall(head.encode() + part)
        sent = send_until_refused(client, CHUNK, 100 * MEGABYTE)
        answer = read_to_end(client)
    assert sent < 20 * MEGABYTE
    assert status_of(answer) in {302, 400, 401, 403, 404, 413, None}
    assert module_web.memory_bytes() - before < 50 * MEGABYTE


def test_a_body_that_is_announced_too_large_is_refused_before_it_is_sent(module_web: Web) -> None:
    head = b"POST /sign-in HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    with module_web.connect() as client:
        client.sendall(head + b"Content-Length: 600000000\r\n\r\n")
        answer = client.recv(65_536)
    assert status_of(answer) == 413
    assert b"connection: close" in answer.lower()


def test_a_client_that_sends_its_head_slowly_is_closed(module_web: Web) -> None:
    with module_web.connect(timeout=30) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-A: ")
        start = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - start < 25:
                client.sendall(b"a")
                time.sleep(0.25)
        answer = read_to_end(client)
    assert time.monotonic() - start < 20
    assert status_of(answer) in {408, None}


@pytest.fixture
def narrow_web(light_yard: Yard, tmp_path: Path):  # type: ignore[no-untyped-def]
    with serving(light_yard, tmp_path, open_files=256) as served:
        yield served


@pytest.mark.parametrize("start", [b"", b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nHost: a\r\n"])
def test_half_open_requests_do_not_keep_others_out(narrow_web: Web, start: bytes) -> None:
    half_open = []
    try:
        for _ in range(260):
            client = narrow_web.connect()
            half_open.append(client)
            with contextlib.suppress(OSError):
                client.sendall(start)
        for _ in range(5):
            assert narrow_web.health_seconds() < 3
    finally:
        for client in half_open:
            client.close()
    assert "Traceback" not in narrow_web.log()


def test_connections_that_were_closed_by_their_clients_count_no_more(narrow_web: Web) -> None:
    for _ in range(300):
        narrow_web.connect().close()

    def is_well() -> None:
        assert narrow_web.health_seconds() < 3

    eventually(is_well, within=10)


def test_one_address_cannot_hold_every_connection(light_yard: Yard, tmp_path: Path) -> None:
    with serving(light_yard, tmp_path, MAX_CONNECTIONS_PER_ADDRESS="5") as served:
        idle = [served.connect() for _ in range(12)]
        for client in idle:
            with contextlib.suppress(OSError):
                client.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        served.health_seconds()
        ended = sum(1 for client in idle if is_closed(client))
        assert ended >= 7
        for client in idle:
            client.close()


def is_closed(client: socket.socket) -> bool:
    client.settimeout(2)
    try:
        while data := client.recv(65_536):
            if b"Connection: close" in data:
                return True
    except TimeoutError:
        return False
    except OSError:
        return True
    return True
