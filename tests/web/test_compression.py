"""Answers are compressed for Taskyard's own pages and for programs; nothing secret can be guessed from their length."""

from __future__ import annotations

import gzip
import re
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from dashboard.extensions import unmasked_csrf_token
from tests.conftest import Auth

GZIP = {"Accept-Encoding": "gzip"}


def encoding(answer: Any) -> str | None:
    found: str | None = answer.headers.get("Content-Encoding")
    return found


def unmask(token: str) -> str:
    found = unmasked_csrf_token(token)
    assert found is not None
    return found


def form_token(client: FlaskClient) -> str:
    return re.findall(r'data-csrf="([^"]+)"', client.get("/more").text)[0]


@pytest.mark.parametrize("path", ["/", "/jobs?q=x", "/api/docs", "/sign-in", "/nowhere"])
def test_a_page_is_compressed_and_the_same(auth: Auth, path: str) -> None:
    client = auth.client("vera")
    plain, small = client.get(path), client.get(path, headers=GZIP)
    if plain.content_length is not None and plain.content_length < 1_000:
        assert encoding(small) is None
        return
    assert encoding(plain) is None
    assert encoding(small) == "gzip"
    assert len(small.data) < len(plain.data) / 2
    assert "Accept-Encoding" in small.headers["Vary"]
    assert len(re.sub("[A-Za-z0-9_-]{200,}", "", gzip.decompress(small.data).decode())) > 1_000
    assert int(small.headers["Content-Length"]) == len(small.data)


@pytest.mark.parametrize(
    ("site", "compressed"), [("same-origin", True), ("none", True), ("same-site", False), ("cross-site", False)]
)
def test_an_answer_that_another_site_has_asked_for_is_not_compressed(auth: Auth, site: str, compressed: bool) -> None:
    answer = auth.client("vera").get("/jobs?q=csrf", headers={**GZIP, "Sec-Fetch-Site": site})
    assert (encoding(answer) == "gzip") is compressed


def test_without_the_word_of_a_browser_only_what_no_cookie_opens_is_compressed_behind_tls(
    auth: Auth, app: Flask
) -> None:
    secure = {"base_url": "https://localhost", "headers": GZIP}
    client = auth.client("vera")
    assert encoding(client.get("/jobs", **secure)) is None
    program = app.test_client().get("/api/v1/stats", **{**secure, "headers": {**GZIP, **auth.token("viewer")}})
    assert encoding(program) in {None, "gzip"}
    listed = app.test_client().get(
        "/api/v1/tasks", base_url="https://localhost", headers={**GZIP, **auth.token("viewer")}
    )
    assert (listed.status_code, encoding(listed)) == (200, "gzip")


def test_the_token_of_forms_differs_in_each_answer_and_each_is_valid(auth: Auth) -> None:
    client = auth.client("olga")
    first, second = form_token(client), form_token(client)
    assert first != second
    assert unmask(first).rsplit(".", 2)[0] == unmask(second).rsplit(".", 2)[0]
    half = len(first) // 2
    assert first[:half] != second[:half]
    assert first[half:] != second[half:]
    for token in (first, second, unmask(first)):  # the last is one of a page of an earlier version
        answer = client.post("/queues/default/pauses", data={"csrf_token": token})
        assert answer.status_code in {302, 303}, answer.text


@pytest.mark.parametrize("token", ["", "x", "====", "é", "a" * 5_000, "AAAA", "..", "W10.abc.def"])
def test_a_token_that_is_none_is_refused(auth: Auth, token: str) -> None:
    client = auth.client("olga")
    form_token(client)
    assert client.post("/queues/default/pauses", data={"csrf_token": token}).status_code in {400, 403}
