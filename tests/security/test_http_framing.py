"""HTTP messages that two readers could understand differently are refused, and the connection ends."""

from __future__ import annotations

import json
import random
import socket
from itertools import product

import pytest

from dashboard.factory import create_app
from tests.security.serving import Web, read_answer, read_to_end, status_of
from tests.support import eventually
from workers.yard import Yard

BODY = b"name=a&password=b"
NEXT = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"


def head(*lines: bytes, line: bytes = b"POST /sign-in HTTP/1.1") -> bytes:
    return b"\r\n".join([line, b"Host: taskyard", *lines, b"", b""])


AMBIGUOUS = {
    "a space before the colon": head(b"Content-Length : 5"),
    "a tab before the colon": head(b"Content-Length\t: 5"),
    "a folded header": head(b"X-A: b", b" c"),
    "a folded length": head(b"Content-Length: 1", b"\t0"),
    "a folded first header": b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    "a header without a colon": head(b"X-A"),
    "a header without a name": head(b": a"),
    "a header name in other letters": head("X-Ä: a".encode()),
    "a NUL": head(b"X-A: \x00"),
    "a NUL in a name": head(b"X-\x00A: b"),
    "an escape character": head(b"X-A: \x1b[31m"),
    "a bare CR": head(b"X-A: a\rContent-Length: 5"),
    "bare line feeds": b"POST /sign-in HTTP/1.1\nHost: a\n\n",
    "a bare line feed in the head": b"GET / HTTP/1.1\r\nHost: a\nX-A: b\r\n\r\n",
    "a bare line feed at the end of the head": b"GET / HTTP/1.1\r\nHost: a\r\n\n",
    "a bare line feed before the request": b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "an empty host": b"GET / HTTP/1.1\r\nHost: \r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "the same host twice": b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n",
    "two types": head(b"Content-Type: application/json", b"Content-Type: text/plain"),
    "two credentials": head(b"Authorization: Bearer a", b"Authorization: Bearer b"),
    "an absolute address": head(line=b"GET http://a/ HTTP/1.1"),
    "an authority": head(line=b"CONNECT a:80 HTTP/1.1"),
    "an asterisk": head(line=b"GET * HTTP/1.1"),
    "a fragment": head(line=b"GET /#a HTTP/1.1"),
    "a relative path": head(line=b"GET jobs HTTP/1.1"),
    "a path in other letters": head(line="GET /ä HTTP/1.1".encode()),
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/1": head(line=b"GET / HTTP/1"),
    "HTTP/1.2": head(line=b"GET / HTTP/1.2"),
    "HTTP/2": head(line=b"GET / HTTP/2.0"),
    "the start of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "http/1.1": head(line=b"GET / http/1.1"),
    "two spaces": head(line=b"GET  / HTTP/1.1"),
    "a space at the end": head(line=b"GET / HTTP/1.1 "),
    "a tab": head(line=b"GET\t/\tHTTP/1.1"),
    "a space in the address": head(line=b"GET /a b HTTP/1.1"),
    "no address": head(line=b"GET HTTP/1.1"),
    "a method in small letters": head(line=b"get / HTTP/1.1"),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100,
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
    "zeros": b"\x00" * 5_000,
}


def check_refused(answer: bytes, status: int = 400) -> None:
    assert status_of(answer) == status, answer[:300]
    assert answer.count(b"HTTP/1.1 ") == 1
    headers, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in headers
    assert b"Connection: close" in headers
    assert json.loads(body)["status"] == status


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_an_ambiguous_message_is_refused_and_what_follows_it_is_not_read(module_web: Web, name: str) -> None:
    check_refused(module_web.send(AMBIGUOUS[name] + NEXT))


LENGTHS = [
    "17",
    " 17\t",
    "+17",
    "-1",
    "17, 17",
    "017x",
    "0x11",
    "1_7",
    "1e1",
    "17.0",
    "9" * 40,
    "",
    "١٧",
    "\xa017",
    "17;",
]
ENCODINGS = [
    "chunked",
    "CHUNKED",
    "gzip, chunked",
    "chunked, chunked",
    "identity",
    "\x0bchunked",
    "chunked;q=1",
    "",
    "x",
]
VALID = {("17",), (" 17\t",), ("chunked",), ("CHUNKED",)}


def framings() -> list[tuple[str, ...]]:
    """Return the headers of every single framing and of every pair of them, in both orders."""
    singles = [*((f"Content-Length:{length}",) for length in LENGTHS)]
    singles += [(f"Transfer-Encoding:{encoding}",) for encoding in ENCODINGS]
    pairs = [(*first, *second) for first, second in product(singles, repeat=2)]
    return singles + random.Random(9).sample(pairs, 150)


def is_valid(lines: tuple[str, ...]) -> bool:
    return len(lines) == 1 and (lines[0].partition(":")[2],) in VALID


@pytest.mark.parametrize("lines", framings(), ids=lambda lines: ascii(" | ".join(lines))[:90])
def test_only_one_plain_framing_is_accepted(module_web: Web, lines: tuple[str, ...]) -> None:
    is_chunked = "hunked" in lines[0] or "HUNKED" in lines[0]
    body = b"11\r\n%s\r\n0\r\n\r\n" % BODY if is_chunked else BODY
    encoded = (line.encode("utf-8" if "١" in line else "latin-1") for line in lines)
    answer = module_web.send(head(*encoded, b"Connection: close") + body + NEXT)
    if is_valid(lines):
        assert b"text/html" in answer  # the form was read, and lacks its token
        assert answer.count(b"HTTP/1.1 ") == 1
    else:
        check_refused(answer)


@pytest.mark.parametrize("encoding", ["chunked"])
def test_chunks_need_http_1_1(module_web: Web, encoding: str) -> None:
    raw = head(f"Transfer-Encoding: {encoding}".encode(), line=b"POST /sign-in HTTP/1.0")
    check_refused(module_web.send(raw + b"0\r\n\r\n" + NEXT))


CHUNKS = {
    "no number": b"zz\r\n",
    "no size": b"\r\nhello\r\n0\r\n\r\n",
    "a space for a size": b" \r\nhello\r\n0\r\n\r\n",
    "a space before the size": b" 5\r\nhello\r\n0\r\n\r\n",
    "a negative size": b"-5\r\nhello\r\n0\r\n\r\n",
    "a size with a sign": b"+5\r\nhello\r\n0\r\n\r\n",
    "a size with a prefix": b"0x5\r\nhello\r\n0\r\n\r\n",
    "a size with an underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
    "a size of many digits": b"F" * 30 + b"\r\n",
    "a size of many zeros": b"0" * 600 + b"5\r\nhello\r\n0\r\n\r\n",
    "no line end after the data": b"5\r\nhelloXX0\r\n\r\n",
    "more data than its size": b"5\r\nhello there\r\n0\r\n\r\n",
    "bare line feeds": b"5\nhello\n0\n\n",
    "a bare line feed in an extension": b"5;a\nhello\r\n0\r\n\r\n",
    "a bare CR in an extension": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "a bare CR after the size": b"5\rhello\r\n0\r\n\r\n",
    "an endless extension": b"5;" + b"a" * 20_000 + b"\r\nhello\r\n0\r\n\r\n",
    "a trailer without a colon": b"5\r\nhello\r\n0\r\nX\r\n\r\n",
    "a folded trailer": b"5\r\nhello\r\n0\r\nX: a\r\n b\r\n\r\n",
    "endless trailers": b"5\r\nhello\r\n0\r\n" + b"X: a\r\n" * 5_000 + b"\r\n",
    "only tiny chunks": b"1\r\na\r\n" * 40_000 + b"0\r\n\r\n",
}


@pytest.mark.parametrize("name", CHUNKS)
def test_chunks_that_are_not_valid_are_refused(module_web: Web, name: str) -> None:
    request = head(b"Transfer-Encoding: chunked", b"Content-Type: application/x-www-form-urlencoded") + CHUNKS[name]
    check_refused(module_web.send(request + NEXT))


@pytest.mark.parametrize("size", [b"FFFFFFFFFFFFFFF", b"10000000", b"FA01"])
def test_a_chunk_that_is_announced_too_large_is_refused_before_it_is_sent(module_web: Web, size: bytes) -> None:
    request = head(b"Transfer-Encoding: chunked", b"Content-Type: application/x-www-form-urlencoded")
    with module_web.connect() as client:
        client.sendall(request + size + b"\r\n")
        check_refused(read_to_end(client), 413)


def test_chunks_with_extensions_and_trailers_are_read(module_web: Web) -> None:
    chunks = b'11;a=1;b="x y"\r\n' + BODY + b"\r\n0;end\r\nX-Sum: abc\r\n\r\n"
    answer = module_web.send(
        head(b"Transfer-Encoding: chunked", b"Content-Type: application/x-www-form-urlencoded")
        + chunks
        + b"GET /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    )
    assert answer.count(b"HTTP/1.1 404") == 1


def test_a_header_with_an_underscore_does_not_pass_for_one_with_a_hyphen(module_web: Web) -> None:
    raw = head(b"Content_Length: 900000000", b"Transfer_Encoding: chunked", line=b"GET /healthz HTTP/1.1")
    assert status_of(module_web.send(raw.replace(b"Host", b"Connection: close\r\nHost"))) == 200


@pytest.mark.parametrize("length", [b"Content-Length: 100", b"Transfer-Encoding: chunked"])
def test_a_body_is_bounded_also_when_the_request_asks_for_a_websocket(module_web: Web, length: bytes) -> None:
    upgrade = (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: YQ==")
    answer = module_web.send(
        head(*upgrade, length, b"Content-Type: application/x-www-form-urlencoded") + b"FFFFFF\r\n" * 20
    )
    assert status_of(answer) in {400, 413}


def test_an_unknown_expectation_is_refused(module_web: Web) -> None:
    check_refused(module_web.send(head(b"Expect: 200-ok", b"Content-Length: 5") + b"hello" + NEXT), 417)


def test_expect_continue_is_not_answered_for_a_body_that_is_too_large(module_web: Web) -> None:
    answer = module_web.send(head(b"Content-Length: 900000000", b"Expect: 100-continue"))
    assert status_of(answer) == 413
    assert b"100 Continue" not in answer


def test_expect_continue_is_not_answered_for_a_stranger(module_web: Web) -> None:
    answer = module_web.send(head(b"Content-Length: 9", b"Expect: 100-Continue", line=b"POST /api/v1/jobs HTTP/1.1"))
    assert status_of(answer) == 401
    assert b"100 Continue" not in answer


def test_expect_continue_is_answered_when_the_body_is_wanted(module_web: Web) -> None:
    form = b"Content-Type: application/x-www-form-urlencoded"
    with module_web.connect() as client:
        client.sendall(head(b"Content-Length: 17", b"Expect: 100-Continue", form))
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(BODY)
        assert status_of(read_answer(client)) == 400  # without a CSRF token


def test_a_head_request_is_answered_without_a_body_on_every_address(module_web: Web, module_yard: Yard) -> None:
    rules = create_app(module_yard.settings, module_yard).url_map.iter_rules()
    paths = sorted({rule.rule for rule in rules if "GET" in (rule.methods or ()) and not rule.arguments})
    assert "/metrics" in paths
    line = module_web.token("admin")
    with module_web.connect() as client:
        for path in paths:
            client.sendall(head(line, line=b"HEAD %s HTTP/1.1" % path.encode()) + NEXT)
            first = b""
            while not first.endswith(b"\r\n\r\n"):
                first += client.recv(1)
            assert first.startswith(b"HTTP/1.1 "), path
            assert status_of(read_answer(client)) == 200, path


def test_requests_in_one_packet_are_answered_in_order(module_web: Web) -> None:
    answer = module_web.send(NEXT * 3 + b"GET /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200") == 3
    assert answer.count(b"HTTP/1.1 404") == 1


@pytest.mark.parametrize("option", [b"close", b"Close", b"TE, close", b"close, TE"])
def test_a_connection_ends_when_its_client_says_so(module_web: Web, option: bytes) -> None:
    answer = module_web.send(head(b"Connection: " + option, line=b"GET /healthz HTTP/1.1") + NEXT)
    assert answer.count(b"HTTP/1.1 200") == 1


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET /?" + b"a" * 90_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET /?" + b"a" * 8_010 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX-A: " + b"a" * 40_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX-A: " + b"a" * 40_000, 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X-A: b\r\n" * 200 + b"\r\n", 431),
        (b"A" * 9_000, 400),
    ],
    ids=["long path", "long query", "just too long", "long header", "unfinished header", "many headers", "long method"],
)
def test_a_head_that_is_too_large_is_refused_as_a_problem(module_web: Web, raw: bytes, status: int) -> None:
    check_refused(module_web.send(raw), status)


def test_a_hundred_headers_are_accepted(module_web: Web) -> None:
    lines = [b"X-%d: b" % n for n in range(98)]
    assert status_of(module_web.send(head(*lines, b"Connection: close", line=b"GET /healthz HTTP/1.1"))) == 200


def test_random_bytes_never_cause_a_fault(module_web: Web) -> None:
    chance = random.Random(11)
    for _ in range(150):
        raw = bytearray(head(b"Content-Length: 17", b"Content-Type: application/x-www-form-urlencoded") + BODY)
        for _ in range(chance.randint(1, 6)):
            raw[chance.randrange(len(raw))] = chance.randrange(256)
        with module_web.connect() as client:
            client.sendall(raw)
            client.shutdown(socket.SHUT_WR)
            answer = read_to_end(client)
        assert status_of(answer) is None or status_of(answer) < 500, (raw, answer)
    assert "Traceback" not in module_web.log()


def test_a_client_may_leave_at_any_moment(module_web: Web) -> None:
    raw = head(b"Transfer-Encoding: chunked", b"Content-Type: text/plain") + b"5\r\nhello\r\n0\r\n\r\n"
    for end in range(0, len(raw), 3):
        with module_web.connect() as client:
            client.sendall(raw[:end])

    def is_well() -> None:
        assert module_web.health_seconds() < 5
        assert "Traceback" not in module_web.log()

    eventually(is_well, within=20)
