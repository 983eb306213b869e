"""HTTP messages that two readers could understand differently are refused, and the connection ends."""

from __future__ import annotations

import json
import socket

import pytest

from tests.security.serving import Web, read_to_end, status_of

BODY = b"name=a&password=b"


def head(*lines: bytes, line: bytes = b"POST /sign-in HTTP/1.1") -> bytes:
    return b"\r\n".join([line, b"Host: taskyard", *lines, b"", b""])


AMBIGUOUS = {
    "two lengths": head(b"Content-Length: 5", b"Content-Length: 6"),
    "the same length twice": head(b"Content-Length: 5", b"Content-Length: 5"),
    "a list of lengths": head(b"Content-Length: 5, 5"),
    "length and chunks": head(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
    "chunks and length": head(b"Transfer-Encoding: chunked", b"Content-Length: 5"),
    "a signed length": head(b"Content-Length: +5"),
    "a negative length": head(b"Content-Length: -1"),
    "a length in hexadecimal": head(b"Content-Length: 0x5"),
    "a length with an underscore": head(b"Content-Length: 1_0"),
    "a length of many digits": head(b"Content-Length: " + b"9" * 40),
    "an empty length": head(b"Content-Length:"),
    "a length in other digits": head("Content-Length: ٥".encode()),
    "another encoding": head(b"Transfer-Encoding: gzip, chunked"),
    "an encoding twice": head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    "an unknown encoding": head(b"Transfer-Encoding: identity"),
    "an encoding with something before it": head(b"Transfer-Encoding: \x0bchunked"),
    "chunks in HTTP/1.0": head(b"Transfer-Encoding: chunked", line=b"POST /sign-in HTTP/1.0"),
    "a space before the colon": head(b"Content-Length : 5"),
    "a folded header": head(b"X-A: b", b" c"),
    "a header without a colon": head(b"X-A"),
    "a header without a name": head(b": a"),
    "a NUL": head(b"X-A: \x00"),
    "a bare CR": head(b"X-A: a\rContent-Length: 5"),
    "bare line feeds": b"POST /sign-in HTTP/1.1\nHost: a\n\n",
    "a bare line feed in the head": b"GET / HTTP/1.1\r\nHost: a\nX-A: b\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "an absolute address": head(line=b"GET http://a/ HTTP/1.1"),
    "an authority": head(line=b"CONNECT a:80 HTTP/1.1"),
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/2": head(line=b"GET / HTTP/2.0"),
    "HTTP/9": head(line=b"GET / HTTP/9.9"),
    "two spaces": head(line=b"GET  / HTTP/1.1"),
    "a tab": head(line=b"GET\t/\tHTTP/1.1"),
    "no address": head(line=b"GET HTTP/1.1"),
    "a method in small letters": head(line=b"get / HTTP/1.1"),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100 + b"\r\n\r\n",
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_an_ambiguous_message_is_refused_and_what_follows_it_is_not_read(module_web: Web, name: str) -> None:
    answer = module_web.send(AMBIGUOUS[name] + b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
    assert status_of(answer) == 400, answer[:300]
    assert answer.count(b"HTTP/1.1 ") == 1
    headers, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in headers
    assert b"Connection: close" in headers
    assert json.loads(body)["status"] == 400


CHUNKS = {
    "no number": b"zz\r\n",
    "a negative size": b"-5\r\nhello\r\n0\r\n\r\n",
    "a size with a prefix": b"0x5\r\nhello\r\n0\r\n\r\n",
    "a size of many digits": b"F" * 30 + b"\r\n",
    "no line end after the data": b"5\r\nhelloXX0\r\n\r\n",
    "bare line feeds": b"5\nhello\n0\n\n",
    "an endless extension": b"5;" + b"a" * 20_000 + b"\r\nhello\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("name", CHUNKS)
def test_chunks_that_are_not_valid_end_the_connection(module_web: Web, name: str) -> None:
    request = head(b"Transfer-Encoding: chunked", b"Content-Type: application/x-www-form-urlencoded") + CHUNKS[name]
    with module_web.connect() as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        answer = read_to_end(client)
    assert answer.count(b"HTTP/1.1 ") <= 1
    assert status_of(answer) in {400, 403, None}


def test_a_head_request_for_a_streamed_answer_leaves_the_connection_usable(module_web: Web) -> None:
    with module_web.connect() as client:
        for path in (b"/healthz", b"/sign-in", b"/static/css/base.css", b"/nowhere"):
            client.sendall(b"HEAD " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = client.recv(65_536)
            assert answer.startswith(b"HTTP/1.1 ")
            assert answer.endswith(b"\r\n\r\n"), path
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert status_of(read_to_end(client)) == 200


def test_requests_in_one_packet_are_answered_in_order(module_web: Web) -> None:
    answer = module_web.send(
        b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" * 3
        + b"GET /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    )
    assert answer.count(b"HTTP/1.1 200") == 3
    assert answer.count(b"HTTP/1.1 404") == 1


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET /?" + b"a" * 90_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX-A: " + b"a" * 40_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X-A: b\r\n" * 200 + b"\r\n", 431),
    ],
    ids=["long path", "long query", "long header", "many headers"],
)
def test_a_head_that_is_too_large_is_refused_as_a_problem(module_web: Web, request_: bytes, status: int) -> None:
    answer = module_web.send(request_)
    assert status_of(answer) == status
    assert b"application/problem+json" in answer


def test_bad_clients_leave_no_traceback_in_the_log(module_web: Web) -> None:
    module_web.send(b"\x00" * 5_000)
    with module_web.connect() as client:
        client.sendall(head(b"Content-Length: 50") + b"half")
    assert "Traceback" not in module_web.log()


def test_expect_continue_is_not_answered_for_a_body_that_is_too_large(module_web: Web) -> None:
    answer = module_web.send(head(b"Content-Length: 900000000", b"Expect: 100-continue"))
    assert status_of(answer) in {400, 413}
    assert b"100 Continue" not in answer
