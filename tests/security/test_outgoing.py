"""Calls that users aim reach public addresses only, take no credential along to another host, and end."""

from __future__ import annotations

import gzip
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpcore
import httpx
import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tests.conftest import running_worker
from tests.support import eventually
from workers.broker import outgoing
from workers.domain.addresses import Refused, check_url, is_public, literal_address
from workers.domain.errors import BadInput
from workers.domain.http_headers import check_headers
from workers.services import jobs
from workers.services.enqueueing import NewJob
from workers.yard import Yard

PRIVATE = (
    "127.0.0.1 127.255.255.254 0.0.0.0 0.1.2.3 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 169.254.169.254 100.64.0.1 "
    "100.127.255.255 198.18.0.1 198.19.255.255 192.0.0.1 192.0.0.9 192.0.0.170 192.0.2.1 198.51.100.1 203.0.113.1 224.0.0.1 "
    "239.255.255.250 240.0.0.1 255.255.255.255 192.88.99.1 ::1 :: ::127.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:10.0.0.1 "
    "::ffff:0:127.0.0.1 fe80::1 fe80::1%eth0 2606:4700::1%eth0 fc00::1 fd00::1 fd00:ec2::254 fec0::1 ff02::1 ff0e::1 "
    "2001:db8::1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b::10.0.0.1 64:ff9b:1::1 64:ff9b:1::808:808 2002:7f00:1:: "
    "2002:0a00:0001:: 2002:a9fe:a9fe::1 2001::1 2001:0:7f00:1::1 2001:2::1 2001:10::1 2001:20::1 100::1 3fff::1 5f00::1 "
    "4000::1 8000::1 e000::1 1::1 2606:4700::5efe:7f00:1 2606:4700::200:5efe:a00:1"
).split()
PUBLIC = (
    "1.1.1.1 8.8.8.8 93.184.216.34 100.63.255.255 100.128.0.1 172.15.0.1 172.32.0.1 192.0.1.1 11.0.0.1 223.255.255.254 "
    "2606:4700:4700::1111 2a00:1450:4001::1 2002:0808:0808:: 64:ff9b::808:808 ::ffff:8.8.8.8 2606:4700::5efe:808:808"
).split()
LOOPBACK_SPELLINGS = (
    "127.0.0.1 127.1 127.0.1 0x7f000001 0X7F000001 0x7f.1 2130706433 017700000001 0177.0.0.1 00000177.0.0.1 [::1] "
    "[0:0:0:0:0:0:0:1] [::ffff:127.0.0.1] [::ffff:7f00:1] [::127.0.0.1] [64:ff9b::7f00:1] [2002:7f00:1::] 127.0.0.1. 127.1. "
    "localhost LOCALHOST localhost. a.localhost a.b.LocalHost. localhost.localdomain ip6-localhost １２７.0.0.1 １２７。０。０。１ "
    "127。0。0。1 127｡0｡0｡1 ⓛocalhost ⓁⓄⒸⒶⓁⒽⓄⓈⓉ 𝟏𝟐𝟕.0.0.1 0 0.0.0.0 [::] [fe80::1%25eth0] 169.254.169.254 0xa9fea9fe"
).split()
NO_WEB_ADDRESS = [
    "ftp://a.example/", "file:///etc/passwd", "gopher://a/", "//a.example", "a.example", "http://", "http:///x", "http:a.example",
    "http://u:p@a.example/", "http://127.0.0.1@a.example/", "http://a.example@127.0.0.1/", "http://@a.example/", "http://:@a.example/",
    "http://a.example/\r\nX: y", "http://a.example/\tx", "http://a.example/ x", " http://a.example/", "http://a.example/\x00", "http://a.example/\x7f",
    "http://a.example\\@127.0.0.1/", "http:\\\\a.example/", "http://a.example/\ud800", "http://a.example/\u202e", "http://a.ex\u00adample/",
    "http://[", "http://[::1", "http://a:b:c/", "http://a.example:99999/", "http://a.example:-1/", "http://a..example/", "http://.a.example/",
    "http://127%2e0%2e0%2e1/", "http://a.exa<mple/", "http://a.example;x/", "http://a/" + "x" * 3000, "x" * 10_000, "",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_public_is_known(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_known(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses())
def test_nothing_that_python_calls_private_is_public(address: Any) -> None:
    wrapped = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None)
    if is_public(str(address)) and wrapped is None:
        assert address.is_global or address in __import__("ipaddress").ip_network("64:ff9b::/96")
        assert not address.is_multicast


@pytest.mark.parametrize("host", LOOPBACK_SPELLINGS)
def test_every_spelling_of_a_private_address_is_refused_before_it_is_resolved(host: str) -> None:
    with pytest.raises(Refused, match="private or loopback"):
        check_url(f"http://{host}/x", allow_private=False)
    assert check_url(f"http://{host}:8080/x", allow_private=True)


@pytest.mark.parametrize("url", NO_WEB_ADDRESS)
def test_what_is_no_plain_web_address_is_refused(url: str) -> None:
    with pytest.raises(Refused):
        check_url(url, allow_private=True)


def test_a_name_is_not_taken_for_an_address() -> None:
    for name in ("a.example", "cafe.example", "fade.example", "bücher.example", "localhost.example", "10.example"):
        assert literal_address(name) is None, name
    assert check_url("https://hooks.example/x?y=127.0.0.1", allow_private=False)


@given(st.text(max_size=60) | st.text("htp:/0127.[]@%x\\ \r\n", max_size=40).map("http://".__add__))
def test_any_text_is_either_an_address_or_refused(text: str) -> None:
    try:
        assert check_url(text, allow_private=False) == text
    except Refused:
        return
    assert httpx.URL(text).scheme in {"http", "https"}


class PublicNetwork(httpcore.SyncBackend):
    """The Internet of a test: what is behind a public address stands on loopback. It notes what was connected to."""

    def __init__(self) -> None:
        self.connected: list[str] = []

    def connect_tcp(self, host: str, port: int, *rest: Any, **options: Any) -> httpcore.NetworkStream:
        self.connected.append(host)
        return super().connect_tcp("127.0.0.1" if is_public(host) else host, port, *rest, **options)


NAMES = {
    "public.example": ["93.184.216.34"],
    "other.example": ["93.184.216.35"],
    "inside.example": ["127.0.0.1"],
    "metadata.example": ["169.254.169.254"],
    "mixed.example": ["93.184.216.34", "10.0.0.1"],
    "six.example": ["::1"],
}


def resolve(host: str, _port: int) -> list[str]:
    return NAMES.get(host) or [host]


def call(url: str, method: str = "GET", *, network: PublicNetwork | None = None, **options: Any) -> Any:
    chosen = {"resolver": resolve, "network": network or PublicNetwork(), "allow_private": False, **options}
    with outgoing.stream(method, url, **chosen) as answer:
        return answer.status_code, outgoing.read_bounded(answer, 1_000_000)[0]


def test_a_public_name_is_reached(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/x", headers={"Host": f"public.example:{httpserver.port}"}).respond_with_data("here")
    network = PublicNetwork()
    assert call(f"http://public.example:{httpserver.port}/x", network=network) == (200, b"here")
    assert network.connected == ["93.184.216.34"]


@pytest.mark.parametrize("name", ["inside.example", "metadata.example", "mixed.example", "six.example", "127.0.0.1"])
def test_a_name_that_stands_for_a_private_address_is_not_connected_to(httpserver: HTTPServer, name: str) -> None:
    network = PublicNetwork()
    with pytest.raises(Refused):
        call(f"http://{name}:{httpserver.port}/x", network=network)
    assert (network.connected, httpserver.log) == ([], [])


def test_a_name_that_changes_its_mind_is_connected_to_as_it_was_checked(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/x").respond_with_data("here")
    answers = iter([["93.184.216.34"], ["127.0.0.1"]])
    network = PublicNetwork()
    url = f"http://rebinding.example:{httpserver.port}/x"
    call(url, network=network, resolver=lambda _host, _port: next(answers))
    with pytest.raises(Refused):
        call(url, network=network, resolver=lambda _host, _port: next(answers))
    assert network.connected == ["93.184.216.34"]


@pytest.mark.parametrize("location", [
    "http://inside.example:{port}/", "http://127.0.0.1:{port}/", "http://2130706433:{port}/", "//[::1]:{port}/", "http://metadata.example/",
    "file:///etc/passwd", "gopher://public.example/", "http://u:p@public.example/", "http://a b/", "http://public.example/" + "x" * 9000,
])  # fmt: skip
def test_a_redirect_does_not_lead_inside_either(httpserver: HTTPServer, location: str) -> None:
    target = location.format(port=httpserver.port)
    httpserver.expect_request("/go").respond_with_data("", status=302, headers={"Location": target})
    with pytest.raises(Refused):
        call(f"http://public.example:{httpserver.port}/go")
    assert len(httpserver.log) == 1


def test_the_guard_of_one_call_restricts_nobody_else(httpserver: HTTPServer) -> None:
    """What a task does while it reads an answer, as telling Redis how far it is, is not restricted."""
    httpserver.expect_request("/x").respond_with_data("here")
    url = f"http://public.example:{httpserver.port}/x"
    with outgoing.stream("GET", url, allow_private=False, resolver=resolve, network=PublicNetwork()):
        socket.create_connection(("127.0.0.1", httpserver.port), timeout=2).close()
        assert socket.getaddrinfo("localhost", httpserver.port)


CREDENTIALS = {
    "Authorization": "Bearer x",
    "X-Api-Key": "hunter2",
    "X-Auth-Token": "hunter2",
    "Cookie": "a=b",
    "Private-Token": "hunter2",
    "webhook-signature": "v1,x",
    "webhook-id": "1",
    "X-Custom": "secret",
}


@pytest.fixture
def arrivals(httpserver: HTTPServer) -> list[Request]:
    seen: list[Request] = []

    def keep(request: Request) -> Response:
        request.get_data()
        seen.append(request)
        return Response("ok")

    httpserver.expect_request("/there").respond_with_handler(keep)
    return seen


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("host", ["other.example", "127.0.0.1"])
def test_credentials_do_not_follow_to_another_host(
    httpserver: HTTPServer, arrivals: list[Request], status: int, host: str
) -> None:
    target = f"http://{host}:{httpserver.port}/there"
    httpserver.expect_request("/go").respond_with_data(
        "", status=status, headers={"Location": target, "Set-Cookie": "s=1"}
    )
    headers = {**CREDENTIALS, "Accept": "text/plain", "Accept-Language": "de", "User-Agent": "mine/1"}
    call(f"http://public.example:{httpserver.port}/go", headers=headers, allow_private=True)
    (arrived,) = arrivals
    assert (arrived.headers["Accept"], arrived.headers["Accept-Language"]) == ("text/plain", "de")
    assert [name for name in CREDENTIALS if name in arrived.headers] == []


def test_another_port_is_another_host(httpserver: HTTPServer) -> None:
    with HTTPServer(host="127.0.0.1") as other:
        other.expect_request("/there").respond_with_data("ok")
        target = f"http://public.example:{other.port}/there"
        httpserver.expect_request("/go").respond_with_data("", status=302, headers={"Location": target})
        call(f"http://public.example:{httpserver.port}/go", headers=CREDENTIALS)
        ((arrived, _),) = other.log
        assert [name for name in CREDENTIALS if name in arrived.headers] == []


def test_credentials_follow_on_the_same_host(httpserver: HTTPServer, arrivals: list[Request]) -> None:
    httpserver.expect_request("/go").respond_with_data("", status=302, headers={"Location": "/there"})
    call(f"http://public.example:{httpserver.port}/go", headers=CREDENTIALS)
    assert [name for name in CREDENTIALS if name not in arrivals[0].headers] == []


@pytest.mark.parametrize(
    ("here", "there", "is_same"),
    [
        ("http://a.example/", "https://a.example/x", True),
        ("https://a.example/", "http://a.example/x", False),
        ("http://a.example/", "https://a.example:8443/x", False),
        ("http://a.example:8080/", "https://a.example/x", False),
        ("http://a.example:80/", "http://a.example/x", True),
        ("https://a.example/", "https://b.a.example/x", False),
        ("https://a.example/", "https://A.EXAMPLE/x", True),
        ("https://a.example/", "https://a.example./x", False),
    ],
)
def test_what_counts_as_the_same_host(here: str, there: str, is_same: bool) -> None:
    assert outgoing._is_same_place(httpx.URL(here), httpx.URL(there)) is is_same


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_body_does_not_follow_to_another_host(
    httpserver: HTTPServer, arrivals: list[Request], method: str, status: int
) -> None:
    target = f"http://other.example:{httpserver.port}/there"
    httpserver.expect_request("/go").respond_with_data("", status=status, headers={"Location": target})
    url = f"http://public.example:{httpserver.port}/go"
    options: dict[str, Any] = {"content": b"secret", "headers": {"Content-Type": "text/plain"}}
    if status == 303 or (status in {301, 302} and method == "POST"):
        assert call(url, method, **options)[0] == 200
        (arrived,) = arrivals
        assert (arrived.method, arrived.get_data(), arrived.content_type) == ("GET", b"", None)
        return
    with pytest.raises(Refused, match="another host"):
        call(url, method, **options)
    assert arrivals == []


@pytest.mark.parametrize("status", [307, 308])
def test_a_body_follows_on_the_same_host(httpserver: HTTPServer, arrivals: list[Request], status: int) -> None:
    httpserver.expect_request("/go").respond_with_data("", status=status, headers={"Location": "/there"})
    call(f"http://public.example:{httpserver.port}/go", "POST", content=b"order")
    assert (arrivals[0].method, arrivals[0].get_data()) == ("POST", b"order")


def test_redirects_in_a_circle_end(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/loop").respond_with_data("", status=302, headers={"Location": "/loop"})
    with pytest.raises(httpx.TooManyRedirects):
        call(f"http://public.example:{httpserver.port}/loop")
    assert len(httpserver.log) == outgoing.MAX_REDIRECTS + 1


class RawServer:
    """Answers the first connection with bytes as they are, piece by piece; reads nothing when it is told so."""

    def __init__(self, pieces: Iterator[bytes], pause: float = 0.0, *, reads: bool = True) -> None:
        self._pieces, self._pause, self._reads = pieces, pause, reads
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.is_over = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection, self._listener:
            if not self._reads:
                self.is_over.wait(20)
                return
            connection.recv(65536)
            try:
                for piece in self._pieces:
                    connection.sendall(piece)
                    if self.is_over.wait(self._pause):
                        return
            except OSError:
                return


def drip(head: bytes, piece: bytes) -> Iterator[bytes]:
    yield head
    for _ in range(200):
        yield piece


@pytest.mark.parametrize(
    "pieces",
    [
        drip(b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
        drip(b"HTTP/1.1 200 OK\r\nX-Long: ", b"x"),
        drip(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"),
        drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        drip(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
        drip(b"HT", b""),
    ],
    ids=["body", "header", "headers", "chunks", "continues", "silence"],
)
def test_an_answer_that_drips_ends_at_the_deadline(pieces: Iterator[bytes]) -> None:
    server = RawServer(pieces, pause=0.1)
    began = time.monotonic()
    with pytest.raises(httpx.TimeoutException):
        call(server.url, allow_private=True, timeout_seconds=5, total_seconds=1.0)
    server.is_over.set()
    assert time.monotonic() - began < 6  # of the 20 s that the server would take


def test_a_server_that_reads_nothing_ends_at_the_deadline() -> None:
    server = RawServer(iter(()), reads=False)
    began = time.monotonic()
    with pytest.raises(httpx.TimeoutException):
        call(server.url, "POST", content=b"x" * 50_000_000, allow_private=True, timeout_seconds=5, total_seconds=1.0)
    server.is_over.set()
    assert time.monotonic() - began < 6


def test_the_deadline_holds_over_redirects(httpserver: HTTPServer) -> None:
    def slow(_request: Request) -> Response:
        time.sleep(0.4)
        return Response("", 302, {"Location": "/slow"})

    httpserver.expect_request("/slow").respond_with_handler(slow)
    with pytest.raises(httpx.TimeoutException):
        call(f"http://public.example:{httpserver.port}/slow", timeout_seconds=1.0)


BOMB = zlib.compressobj(9, zlib.DEFLATED, 31)
BOMB_BYTES = BOMB.compress(bytes(100_000_000)) + BOMB.flush()


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP"])
def test_a_body_that_unpacks_to_much_is_cut_without_being_held(httpserver: HTTPServer, encoding: str) -> None:
    import tracemalloc

    httpserver.expect_request("/bomb").respond_with_data(BOMB_BYTES, headers={"Content-Encoding": encoding})
    tracemalloc.start()
    with outgoing.stream("GET", httpserver.url_for("/bomb"), allow_private=True) as answer:
        body, is_cut = outgoing.read_bounded(answer, 1_000_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (len(body), is_cut) == (1_000_000, True)
    assert peak < 20_000_000


@pytest.mark.parametrize("encoding", ["gzip, gzip", "br", "zstd", "gzip, identity", "compress"])
def test_a_body_in_other_or_many_wrappings_is_refused(httpserver: HTTPServer, encoding: str) -> None:
    packed = gzip.compress(gzip.compress(bytes(1_000_000)))
    httpserver.expect_request("/x").respond_with_data(packed, headers={"Content-Encoding": encoding})
    with pytest.raises(httpx.DecodingError):
        call(httpserver.url_for("/x"), allow_private=True)


def test_a_packed_body_is_read_and_a_broken_one_is_refused(httpserver: HTTPServer) -> None:
    text = b"rows\n" * 100_000
    for name, packed in (("whole", gzip.compress(text)), ("broken", b"no gzip")):
        httpserver.expect_request(f"/{name}").respond_with_data(packed, headers={"Content-Encoding": "gzip"})
    assert call(httpserver.url_for("/whole"), allow_private=True) == (200, text)
    with pytest.raises(httpx.DecodingError):
        call(httpserver.url_for("/broken"), allow_private=True)


@pytest.mark.parametrize("count", [300, 50_000])
def test_an_answer_with_too_many_headers_is_refused(count: int) -> None:
    head = b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: a\r\n" % number for number in range(count))
    server = RawServer(iter([head + b"Content-Length: 0\r\n\r\n"]))
    with pytest.raises(httpx.RemoteProtocolError):
        call(server.url, allow_private=True)


NO_HEADERS: list[dict[str, str]] = [
    {"X": "a\r\nY: b"}, {"X": "a\nb"}, {"X": "a\x00"}, {"X\r\nY": "b"}, {"X Y": "b"}, {"": "b"}, {":path": "b"}, {"X": "ü"}, {"ü": "x"},
    {"X": "a" * 10_000}, {f"X-{number}": "a" for number in range(60)},
]  # fmt: skip


def test_a_header_that_is_none_is_refused_at_submission(app: Flask, auth: Any) -> None:
    for headers in NO_HEADERS:
        with pytest.raises(BadInput):
            check_headers(headers)
        body = {"task": "http.request", "payload": {"url": "https://a.example/x", "headers": headers}}
        answer = app.test_client().post("/api/v1/jobs", json=body, headers=auth.token("operator"))
        assert answer.status_code == 422, headers
        assert answer.json["errors"][0]["field"].startswith("payload"), headers


def test_headers_about_the_connection_are_ours_alone(httpserver: HTTPServer, arrivals: list[Request]) -> None:
    headers = {
        "Host": "evil.example",
        "Content-Length": "3",
        "Transfer-Encoding": "chunked",
        "Connection": "x",
        "X-A": "b",
    }
    call(httpserver.url_for("/there"), "POST", headers=headers, content=b"abcdef", allow_private=True)
    (arrived,) = arrivals
    assert arrived.headers["Host"] == f"{httpserver.host}:{httpserver.port}"
    assert arrived.headers["Content-Length"] == "6"
    assert arrived.headers["X-A"] == "b"
    assert arrived.get_data() == b"abcdef"


@pytest.fixture
def permissive(light_yard: Yard) -> Iterator[Yard]:
    """Open the same Taskyard as a process with ALLOW_PRIVATE_HTTP=1 does."""
    opened = Yard.open(replace(light_yard.settings, allow_private_http=True))
    yield opened
    opened.close()


@pytest.mark.parametrize("asked", ["9" * 300, "100000"])
def test_a_wait_that_the_other_side_asks_for_is_bounded(permissive: Yard, httpserver: HTTPServer, asked: str) -> None:
    httpserver.expect_request("/x").respond_with_data("", status=429, headers={"Retry-After": asked})
    made = jobs.enqueue(permissive, NewJob("http.request", {"url": httpserver.url_for("/x")}))
    with running_worker(permissive, ALLOW_PRIVATE_HTTP="1"):

        def waits() -> None:
            with permissive.database.read() as connection:
                job = jobs.get(connection, made.job_id)
            assert job["status"] == "retry_scheduled"
            assert 80_000 < (job["next_retry_at"] - job["started_at"]).total_seconds() < 100_000

        eventually(waits, within=20)


def test_a_callback_that_cannot_be_called_is_refused_at_submission(app: Flask, auth: Any) -> None:
    header, client = auth.token("operator"), app.test_client()
    for url in [*(f"http://{host}/x" for host in LOOPBACK_SPELLINGS), *NO_WEB_ADDRESS]:
        body = {"task": "samples.noop", "callback_url": url}
        answer = client.post("/api/v1/jobs", json=body, headers=header)
        assert answer.status_code == 422, url
        assert answer.json["errors"][0]["field"] == "callback_url", url
        answer = client.post("/api/v1/jobs/bulk", json={"jobs": [body]}, headers=header)
        assert answer.status_code == 422, url


TARGETS = [
    ("http.request", "url"),
    ("datasets.process", "source"),
    ("inventory.sync", "url"),
    ("reports.daily_analytics", "slack_webhook"),
]


@pytest.mark.parametrize(("task", "field"), TARGETS)
def test_a_private_address_in_a_payload_is_refused_at_submission(app: Flask, auth: Any, task: str, field: str) -> None:
    header, client = auth.token("operator"), app.test_client()
    for host in LOOPBACK_SPELLINGS:
        job = {"task": task, "payload": {field: f"http://{host}/x"}}
        when = {"name": "x", "cron": "0 0 * * *"}
        on = {"name": "x", "kind": "event", "config": {"event": "a"}}
        for path, body in (("jobs", job), ("jobs/bulk", {"jobs": [job]}), ("schedules", {**job, **when}), ("triggers", {**job, **on})):  # fmt: skip
            answer = client.post(f"/api/v1/{path}", json=body, headers=header)
            assert answer.status_code == 422, (host, path)
            if path != "triggers":
                assert answer.json["errors"][0]["field"].endswith(field), (host, path)


def test_a_private_address_is_refused_when_the_job_runs_too(light_yard: Yard, permissive: Yard) -> None:
    """A row that was made while it was allowed, or whose name resolves inside, as `localhost` stands for here."""
    with socket.create_server(("127.0.0.1", 0)) as trap:
        url = f"http://localhost:{trap.getsockname()[1]}/x"
        batch = [NewJob(task, {field: url}, max_retries=0, callback_url=url) for task, field in TARGETS]
        made = jobs.enqueue_many(permissive, batch)
        with running_worker(light_yard), running_worker(light_yard, "system"):

            def failed() -> None:
                with light_yard.database.read() as connection:
                    found = [jobs.get(connection, one.job_id) for one in made]
                assert [job["status"] for job in found] == ["failed"] * len(TARGETS)
                assert [job["task"] for job in found if "ALLOW_PRIVATE_HTTP" not in job["error"]] == []

            eventually(failed, within=40)
        trap.settimeout(0.5)
        with pytest.raises(TimeoutError):
            trap.accept()
