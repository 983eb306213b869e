"""Limits hold while data arrives, whatever its headers promise: bodies, heads, answers, connections."""

from __future__ import annotations

import contextlib
import errno
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from dashboard.factory import create_app
from dashboard.http_connections import PATIENCE_SECONDS, ConnectionTable, Waiting
from tests.security.serving import Web, read_answer, read_to_end, serving, status_of
from tests.support import eventually
from workers.yard import Yard

MEGABYTE = 1_000_000
CHUNK = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"
QUICK = "http_body.IO_SECONDS=1 http_request.HEAD_SECONDS=2 http_request.IDLE_SECONDS=2 http_body.LOWEST_BYTES_PER_SECOND=1000000"


def send_until_refused(client: socket.socket, piece: bytes, total: int) -> int:
    """Send pieces until the server closes the connection or all is sent; the bytes that it took."""
    sent = 0
    with contextlib.suppress(OSError):
        while sent < total:
            client.sendall(piece)
            sent += len(piece)
    return sent


@pytest.mark.parametrize(
    "path",
    ["/sign-in", "/api/v1/jobs", "/api/v1/jobs/bulk", "/tasks/samples.noop/run", "/static/css/base.css", "/nowhere"],
)
@pytest.mark.parametrize(
    "kind", ["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "text/plain"]
)
def test_a_chunked_body_of_300_mb_of_a_stranger_is_cut_off_early(module_web: Web, path: str, kind: str) -> None:
    before = module_web.memory_bytes()
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Type: {kind}\r\n\r\n"
    part = b""
    if kind.startswith("multipart"):
        lines = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
        part = b"%x\r\n%s\r\n" % (len(lines), lines)
    with module_web.connect() as client:
        client.sendall(head.encode() + part)
        sent = send_until_refused(client, CHUNK, 300 * MEGABYTE)
        answer = read_to_end(client)
    assert sent < 20 * MEGABYTE
    assert status_of(answer) in {302, 400, 401, 403, 404, 405, 413, None}
    assert module_web.memory_bytes() - before < 30 * MEGABYTE


def test_a_body_that_is_announced_too_large_is_refused_before_it_is_sent(module_web: Web) -> None:
    with module_web.connect() as client:
        client.sendall(b"POST /sign-in HTTP/1.1\r\nHost: a\r\n" + FORM + b"Content-Length: 600000000\r\n\r\n")
        answer = client.recv(65_536)
    assert status_of(answer) == 413
    assert b"connection: close" in answer.lower()


def writing_calls(yard: Yard) -> list[tuple[str, str]]:
    """Return method and path of every route that changes something, with arguments filled in."""
    calls = []
    for rule in create_app(yard.settings, yard).url_map.iter_rules():
        path = "".join(f"{0}" if is_dynamic else part for is_dynamic, part in rule._trace if part != "|")
        calls += [(method, path) for method in sorted((rule.methods or set()) & {"POST", "PUT", "PATCH", "DELETE"})]
    return calls


@pytest.mark.parametrize("role", [None, "viewer"])
def test_nobody_may_send_a_large_body_without_the_role_for_it(
    module_web: Web, module_yard: Yard, role: str | None
) -> None:
    line = module_web.token(role) + b"\r\n" if role else b""
    calls = writing_calls(module_yard)
    assert len(calls) > 50
    for method, path in calls:
        with module_web.connect() as client:
            client.sendall(
                f"{method} {path} HTTP/1.1\r\nHost: a\r\n".encode()
                + line
                + b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 600000000\r\nExpect: 100-continue\r\n\r\n"
            )
            answer = client.recv(65_536)
        assert status_of(answer) in {302, 303, 400, 401, 403, 404, 409, 405, 413, 415}, (method, path, answer)
        assert b"100 Continue" not in answer, (method, path)


@pytest.mark.parametrize("path", ["/api/v1/jobs", "/schedules/new", "/events", "/queues/default/pause", "/sign-in"])
def test_a_multipart_part_of_600_mb_is_refused_early_where_no_file_is_accepted(module_web: Web, path: str) -> None:
    start = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\nContent-Type: text/csv\r\n\r\n'
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=b\r\n".encode()
    head += module_web.token("operator") + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
    with module_web.connect() as client:
        client.sendall(head + b"%x\r\n%s\r\n" % (len(start), start))
        sent = send_until_refused(client, CHUNK, 600 * MEGABYTE)
        answer = read_to_end(client)
    assert sent < 20 * MEGABYTE
    assert status_of(answer) in {400, 403, 404, 413, 415, 422, None}


@pytest.fixture(scope="module")
def quick_web(module_yard: Yard, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """Serve with limits of one or two seconds."""
    with serving(module_yard, tmp_path_factory.mktemp("quick"), limits=QUICK) as served:
        yield served


def drip(client: socket.socket, piece: bytes, seconds: float) -> None:
    """Send a piece five times a second until the server hangs up."""
    until = time.monotonic() + seconds
    with contextlib.suppress(OSError):
        while time.monotonic() < until:
            client.sendall(piece)
            client.settimeout(0.2)
            with contextlib.suppress(TimeoutError):
                client.recv(1, socket.MSG_PEEK)
                return


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"G", b""),
        (b"G", b"E"),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-A: ", b"a"),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\n", b"X-A: a\r\n"),
        (b"POST /sign-in HTTP/1.1\r\nHost: a\r\n" + FORM + b"Content-Length: 60000\r\n\r\n", b""),
        (b"POST /sign-in HTTP/1.1\r\nHost: a\r\n" + FORM + b"Content-Length: 60000\r\n\r\n", b"a"),
        (b"POST /sign-in HTTP/1.1\r\nHost: a\r\n" + FORM + b"Transfer-Encoding: chunked\r\n\r\n", b""),
        (b"POST /sign-in HTTP/1.1\r\nHost: a\r\n" + FORM + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
        (b"POST /sign-in HTTP/1.1\r\nHost: a\r\n" + FORM + b"Transfer-Encoding: chunked\r\n\r\n8;", b"a"),
    ],
    ids=[
        "silent in the request line",
        "slow in the request line",
        "slow in a header",
        "slow with headers",
        "silent in the body",
        "slow in the body",
        "silent before a chunk",
        "slow with chunks",
        "slow in a chunk's size",
    ],
)
def test_a_client_that_sends_slowly_is_told_so_and_closed(quick_web: Web, start: bytes, piece: bytes) -> None:
    began = time.monotonic()
    with quick_web.connect(timeout=30) as client:
        client.sendall(start)
        if piece:
            drip(client, piece, 25)
            client.settimeout(20)
        answer = read_to_end(client)
    assert status_of(answer) == 408, answer[:200]
    assert b"application/problem+json" in answer
    assert time.monotonic() - began < 25


def test_a_connection_that_stays_silent_is_closed_without_a_word(quick_web: Web) -> None:
    with quick_web.connect(timeout=20) as client:
        assert read_to_end(client) == b""


def test_an_idle_connection_is_closed_without_a_word(quick_web: Web) -> None:
    with quick_web.connect(timeout=20) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        assert status_of(read_answer(client)) == 200
        assert read_to_end(client) == b""


def test_a_client_that_does_not_read_its_answers_is_closed(quick_web: Web) -> None:
    request = b"GET /static/vendor/idiomorph/idiomorph.esm.js HTTP/1.1\r\nHost: a\r\n\r\n"
    process = psutil.Process(quick_web.process.pid)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.connect(("127.0.0.1", quick_web.port))
        client.settimeout(5)
        with contextlib.suppress(OSError):
            client.sendall(request * 2_000)
        own = client.getsockname()

        def is_closed() -> None:
            states = {one.status for one in process.net_connections() if one.raddr == own}
            assert psutil.CONN_ESTABLISHED not in states

        eventually(is_closed, within=20)


@pytest.fixture
def narrow_web(light_yard: Yard, tmp_path: Path) -> Iterator[Web]:
    """Serve with no more than 256 open files."""
    with serving(light_yard, tmp_path, open_files=256) as served:
        yield served


HALF_OPEN = {
    "nothing": b"",
    "half a line": b"GET /healthz HT",
    "half a head": b"GET /healthz HTTP/1.1\r\nHost: a\r\n",
    "no body": b"POST /sign-in HTTP/1.1\r\nHost: a\r\n" + FORM + b"Content-Length: 60000\r\n\r\n",
    "half a body": b"POST /sign-in HTTP/1.1\r\nHost: a\r\n" + FORM + b"Content-Length: 60000\r\n\r\n" + b"a" * 30_000,
    "no chunk": b"POST /sign-in HTTP/1.1\r\nHost: a\r\n" + FORM + b"Transfer-Encoding: chunked\r\n\r\n",
    "half a chunk": b"POST /sign-in HTTP/1.1\r\nHost: a\r\n" + FORM + b"Transfer-Encoding: chunked\r\n\r\n50\r\na",
    "a body nobody wants": b"POST /api/v1/jobs HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n",
    "a whole request": b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.fixture(scope="module", params=["100", "0"], ids=["with a limit by address", "without"])
def few_files_web(
    module_yard: Yard, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Web]:
    """Serve with no more than 256 open files, with and without a limit for one address."""
    folder = tmp_path_factory.mktemp("few")
    with serving(module_yard, folder, open_files=256, MAX_CONNECTIONS_PER_ADDRESS=request.param) as served:
        yield served


@pytest.mark.parametrize("name", HALF_OPEN)
def test_260_connections_that_are_held_open_do_not_keep_others_out(few_files_web: Web, name: str) -> None:
    clients = []
    for _ in range(260):
        client = few_files_web.connect()
        clients.append(client)
        with contextlib.suppress(OSError):
            client.sendall(HALF_OPEN[name])
    seconds = [few_files_web.health_seconds() for _ in range(5)]
    for client in clients:
        client.close()
    assert min(seconds) < 1
    assert max(seconds) < 4
    log = few_files_web.log()
    assert "Traceback" not in log, log[-3000:]
    assert "Too many open files" not in log, "those that were given up hold their descriptors while more are accepted"


def test_connections_that_were_closed_by_their_clients_count_no_more(narrow_web: Web) -> None:
    for _ in range(300):
        narrow_web.connect().close()

    def is_well() -> None:
        assert narrow_web.health_seconds() < 3

    eventually(is_well, within=10)


def assert_idle(process: psutil.Process) -> None:
    used = sum(process.cpu_times()[:2])
    time.sleep(0.5)
    assert sum(process.cpu_times()[:2]) - used < 0.1


def test_a_process_without_free_descriptors_goes_on_when_it_has_some_again(narrow_web: Web) -> None:
    process = psutil.Process(narrow_web.process.pid)
    narrow_web.health_seconds()
    eventually(lambda: assert_idle(process), within=30)  # what is prepared after the start is done
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (process.num_fds() + 3, 256))
    clients = [narrow_web.connect() for _ in range(60)]
    used = sum(process.cpu_times()[:2])
    time.sleep(2)
    assert sum(process.cpu_times()[:2]) - used < 1, "the accept loop spins"
    assert "descriptor" in narrow_web.log() or "ulimit" in narrow_web.log()
    for client in clients:
        client.close()

    def is_well() -> None:
        assert narrow_web.health_seconds() < 3

    eventually(is_well, within=15)
    assert "Traceback" not in narrow_web.log()


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


def test_a_client_that_sends_thousands_of_requests_at_once_does_not_hold_up_others(module_web: Web) -> None:
    with module_web.connect(timeout=0.5) as client:
        with contextlib.suppress(OSError):
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" * 20_000)
        assert module_web.health_seconds() < 2


class _Socket:
    def __init__(self) -> None:
        self.is_open = True

    def shutdown(self, _how: int) -> None:
        if not self.is_open:
            raise OSError(errno.ENOTCONN, "closed")
        self.is_open = False


def test_connections_are_given_up_in_the_order_of_what_they_are_worth() -> None:
    table = ConnectionTable(5, 0)
    order: list[_Socket] = []
    for waiting in (None, Waiting.TRANSFER, Waiting.IDLE, Waiting.HEAD, Waiting.HEAD):
        order.append(_Socket())
        connection = table.add(order[-1], "192.0.2.1")
        assert connection is not None
        connection.set_waiting(waiting)
        connection.waiting_since -= PATIENCE_SECONDS
    in_work, in_transfer, idle, older, newer = order
    for expected in (older, newer, idle, in_transfer):
        assert expected.is_open
        added = table.add(_Socket(), "192.0.2.2")
        assert added is not None
        added.set_waiting(None)
        assert not expected.is_open
    assert table.add(_Socket(), "192.0.2.3") is None
    assert in_work.is_open
    assert len(table) == 5


def test_a_connection_that_has_only_just_come_is_spared_for_one_that_waits_longer() -> None:
    table = ConnectionTable(2, 0)
    in_transfer, fresh = _Socket(), _Socket()
    older = table.add(in_transfer, "192.0.2.1")
    assert older is not None
    older.set_waiting(Waiting.TRANSFER)
    table.add(fresh, "192.0.2.2")
    table.add(_Socket(), "192.0.2.3")
    assert fresh.is_open
    assert not in_transfer.is_open


def test_connections_that_were_given_up_are_counted_until_their_descriptors_are_closed() -> None:
    table = ConnectionTable(4, 0)
    given_up = table.add(_Socket(), "192.0.2.1")
    for _ in range(4):
        table.add(_Socket(), "192.0.2.2")
    assert len(table) == 4
    assert table.is_crowded
    assert given_up is not None
    table.remove(given_up)
    assert not table.is_crowded


def test_a_signed_in_users_body_is_not_given_up() -> None:
    table = ConnectionTable(1, 0)
    upload = _Socket()
    connection = table.add(upload, "192.0.2.1")
    assert connection is not None
    connection.set_waiting(None)
    connection.is_established = True
    connection.start_waiting()
    assert table.add(_Socket(), "192.0.2.2") is None
    assert upload.is_open


@pytest.mark.parametrize(
    "addresses", [["192.0.2.1"] * 4, [f"2001:db8::{n}" for n in range(4)], [f"::ffff:192.0.2.{1}"] * 4]
)
def test_one_address_is_bounded_and_ipv6_by_its_network(addresses: list[str]) -> None:
    table = ConnectionTable(100, 2)
    for address in addresses:
        connection = table.add(_Socket(), address)
        if connection is not None:
            connection.set_waiting(None)
    assert len(table) == 2
    assert table.add(_Socket(), "2001:db8:0:1::1") is not None


def test_the_table_is_empty_when_all_connections_have_ended() -> None:
    table = ConnectionTable(10, 10)
    connections = [table.add(_Socket(), f"192.0.2.{n}") for n in range(10)]
    for connection in connections:
        assert connection is not None
        table.remove(connection)
        table.remove(connection)
    assert len(table) == 0
    assert not table._count
    assert not table._waiting_of
