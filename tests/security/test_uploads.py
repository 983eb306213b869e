"""Uploads: whole forms with files only where they are declared, after the token, bounded, and nothing left of what failed."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from dashboard import uploads
from tests.conftest import Auth
from tests.security.serving import Web, read_to_end, status_of
from tests.support import eventually
from workers.yard import Yard

RUN = "/tasks/datasets.process/run"
FILE = "payload.source.file"


@pytest.fixture
def olga(auth: Auth) -> FlaskClient:
    """Sign in an operator."""
    return auth.client("olga")


def body_of(*parts: tuple[str, str, bytes]) -> bytes:
    """Return a multipart body: name, file name or nothing, content."""
    lines = []
    for name, filename, content in parts:
        file = f'; filename="{filename}"' if filename else ""
        lines.append(b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n' % (name.encode(), file.encode()))
        lines.append(content + b"\r\n")
    return b"".join(lines) + b"--b--\r\n"


def post(client: FlaskClient, path: str, body: bytes, **headers: str) -> Any:
    return client.post(path, data=body, content_type="multipart/form-data; boundary=b", headers=headers)


def stored(yard: Yard) -> list[str]:
    return sorted(path.name for path in yard.settings.uploads_dir.iterdir())


def test_a_file_after_the_token_becomes_an_upload_of_a_job(light_yard: Yard, auth: Auth, olga: FlaskClient) -> None:
    token = auth.csrf(olga).encode()
    answer = post(olga, RUN, body_of(("csrf_token", "", token), (FILE, "t.csv", b"a\n1\n")))
    assert answer.status_code == 303, answer.text
    (name,) = stored(light_yard)
    assert name.endswith("-t.csv")
    path = light_yard.settings.uploads_dir / name
    assert path.read_bytes() == b"a\n1\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_form_of_a_page_sends_its_token_before_its_files(olga: FlaskClient) -> None:
    page = olga.get(RUN).text
    form = page[page.index("<form class") :]
    assert 0 < form.index('name="csrf_token"') < form.index('type="file"')


@pytest.mark.parametrize(
    "parts",
    [
        [(FILE, "t.csv", b"a")],
        [("csrf_token", "", b"wrong"), (FILE, "t.csv", b"a")],
        [(FILE, "t.csv", b"a"), ("csrf_token", "", b"right")],
    ],
    ids=["no token", "a wrong token", "a token behind the file"],
)
def test_a_file_without_the_token_before_it_is_refused_before_it_is_stored(
    light_yard: Yard,
    auth: Auth,
    olga: FlaskClient,
    parts: list[tuple[str, str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    token = auth.csrf(olga).encode()
    monkeypatch.setattr(uploads.files, "create_file", lambda *_: pytest.fail("a file was created"))
    filled = [(name, file, token if content == b"right" else content) for name, file, content in parts]
    assert post(olga, RUN, body_of(*filled)).status_code == 400
    assert stored(light_yard) == []


def test_a_token_in_a_header_is_as_good(light_yard: Yard, auth: Auth, olga: FlaskClient) -> None:
    answer = post(olga, RUN, body_of((FILE, "t.csv", b"a\n1\n")), **{"X-CSRFToken": auth.csrf(olga)})
    assert answer.status_code == 303
    assert len(stored(light_yard)) == 1


def test_a_program_uploads_without_a_csrf_token(light_yard: Yard, app: Flask, auth: Auth) -> None:
    answer = post(app.test_client(), RUN, body_of((FILE, "t.csv", b"a\n1\n")), **auth.token("operator"))
    assert answer.status_code == 303
    assert len(stored(light_yard)) == 1


@pytest.mark.parametrize("path", ["/sign-in", "/schedules/new", "/triggers/new", "/events", "/settings/password"])
def test_a_file_is_refused_where_no_view_declares_one(
    light_yard: Yard, auth: Auth, olga: FlaskClient, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = auth.csrf(olga).encode()
    monkeypatch.setattr(uploads.files, "create_file", lambda *_: pytest.fail("a file was created"))
    answer = post(olga, path, body_of(("csrf_token", "", token), ("f", "f", b"a")))
    assert answer.status_code == 413


def test_an_upload_for_which_no_job_is_made_is_deleted(light_yard: Yard, auth: Auth, olga: FlaskClient) -> None:
    token = auth.csrf(olga).encode()
    parts = [("csrf_token", "", token), ("max_retries", "", b"many"), (FILE, "t.csv", b"a")]
    assert post(olga, RUN, body_of(*parts)).status_code == 422
    assert stored(light_yard) == []


def test_a_file_that_no_field_of_the_task_takes_is_deleted(light_yard: Yard, auth: Auth, olga: FlaskClient) -> None:
    token = auth.csrf(olga).encode()
    parts = [("csrf_token", "", token), (FILE, "t.csv", b"a\n1\n"), ("payload.other.file", "x", b"x")]
    assert post(olga, RUN, body_of(*parts)).status_code == 303
    assert [name.endswith("-t.csv") for name in stored(light_yard)] == [True]


@pytest.mark.parametrize(
    "parts",
    [
        [("x", "", b"a" * 700_000)] * 3,
        [("x", "", b"a")] * 1_001,
        [(f"f{n}", "f", b"a") for n in range(11)],
        [("x" * 100, "", b"a" * 2_100_000)],
    ],
    ids=["fields that are too large together", "many fields", "many files", "a large field"],
)
def test_a_form_is_bounded_in_every_way(
    light_yard: Yard, auth: Auth, olga: FlaskClient, parts: list[tuple[str, str, bytes]]
) -> None:
    token = auth.csrf(olga).encode()
    assert post(olga, RUN, body_of(("csrf_token", "", token), *parts)).status_code == 413
    assert stored(light_yard) == []


def test_a_file_that_grows_beyond_the_limit_is_refused_and_deleted(
    light_yard: Yard, auth: Auth, olga: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MAX_BYTES", 100_000)
    token = auth.csrf(olga).encode()
    answer = post(olga, RUN, body_of(("csrf_token", "", token), (FILE, "t.csv", b"a" * 100_001)))
    assert answer.status_code == 413
    assert stored(light_yard) == []


def test_an_upload_leaves_space_on_the_disk(
    light_yard: Yard, auth: Auth, olga: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "FREE_BYTES", 10**18)
    token = auth.csrf(olga).encode()
    answer = post(olga, RUN, body_of(("csrf_token", "", token), (FILE, "t.csv", b"a")))
    assert answer.status_code == 503
    assert stored(light_yard) == []


@pytest.fixture
def no_incoming() -> Iterator[None]:
    """Check that no file counts as arriving after the test either."""
    yield
    assert not uploads.IncomingFile._open


@pytest.mark.usefixtures("no_incoming")
def test_no_more_than_so_many_files_arrive_at_once(light_yard: Yard, auth: Auth, olga: FlaskClient) -> None:
    token = auth.csrf(olga).encode()
    arriving = [uploads.IncomingFile(light_yard.settings) for _ in range(uploads.MAX_INCOMING)]
    body = body_of(("csrf_token", "", token), (FILE, "t.csv", b"a\n1\n"))
    refused = post(olga, RUN, body)
    assert refused.status_code == 503
    assert "Retry-After" in refused.headers
    for file in arriving:
        file.close()
    assert post(olga, RUN, body).status_code == 303


def test_only_old_leftovers_are_deleted_at_a_start(light_yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = light_yard.settings.uploads_dir
    (folder / ".incoming-a").write_bytes(b"a")
    (folder / "0a-kept.csv").write_bytes(b"a")
    uploads.remove_left_over(light_yard.settings)
    assert stored(light_yard) == [".incoming-a", "0a-kept.csv"]
    monkeypatch.setattr(uploads, "LEFT_OVER_SECONDS", -1.0)
    uploads.remove_left_over(light_yard.settings)
    assert stored(light_yard) == ["0a-kept.csv"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b",
        b"no form",
        b"--b\r\n\r\n\r\n--b--\r\n",
        b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\nnever ends',
        b'--b\r\nContent-Disposition: form-data; name="f"; filename=""\r\n\r\ncontent\r\n--b--\r\n',
        b"--b\r\nContent-Disposition: attachment\r\n\r\ncontent\r\n--b--\r\n",
        b"--b\r\n" + b"X: a\r\n" * 1_000,
    ],
)
def test_a_broken_form_is_refused_and_leaves_nothing(light_yard: Yard, olga: FlaskClient, body: bytes) -> None:
    assert post(olga, RUN, body).status_code == 400
    assert stored(light_yard) == []


def start_upload(web: Web) -> socket.socket:
    client = web.connect(timeout=30)
    start = b'--b\r\nContent-Disposition: form-data; name="%s"; filename="t.csv"\r\n\r\n' % FILE.encode()
    client.sendall(
        f"POST {RUN} HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=b\r\n".encode()
        + web.token("operator")
        + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"%x\r\n%s\r\n" % (len(start), start)
    )
    return client


def test_an_upload_goes_to_disk_and_not_to_memory_while_others_are_answered(module_web: Web) -> None:
    before = module_web.memory_bytes()
    piece = b"40000\r\n" + b"a,b,c,d\n" * 0x8000 + b"\r\n"
    slowest = 0.0
    with start_upload(module_web) as client:
        for n in range(400):
            client.sendall(piece)
            if n % 50 == 0:
                slowest = max(slowest, module_web.health_seconds())
        end = b"\r\n--b--\r\n"
        client.sendall(b"%x\r\n%s\r\n0\r\n\r\n" % (len(end), end))
        client.shutdown(socket.SHUT_WR)
        answer = read_to_end(client)
    assert status_of(answer) == 303, answer[:500]
    assert module_web.memory_bytes() - before < 30_000_000
    assert slowest < 3
    assert [path.stat().st_size for path in module_web.yard.settings.uploads_dir.iterdir()] == [400 * 0x40000]


def test_an_upload_whose_client_leaves_is_deleted(web: Web) -> None:
    folder = web.yard.settings.uploads_dir
    client = start_upload(web)
    client.sendall(b"40000\r\n" + b"a" * 0x40000 + b"\r\n")

    def is_arriving() -> None:
        assert [path.name.startswith(".incoming-") for path in folder.iterdir()] == [True]

    eventually(is_arriving, within=10)
    client.close()

    def is_gone() -> None:
        assert list(folder.iterdir()) == []

    eventually(is_gone, within=10)
    assert "Traceback" not in web.log()
