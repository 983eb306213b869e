"""A browser is sent to paths of this site only, whatever it is asked to go to."""

from __future__ import annotations

from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from dashboard.redirects import local_path, path_on_host
from tests.people import PASSWORD
from tests.support import sign_in

TARGETS = [
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "\t//evil.example",
    " //evil.example",
    "https://evil.example/",
    "https:evil.example",
    "javascript:alert(1)",
    "data:text/html,x",
    "//[",
    "http://[::1",
    "/jobs\r\nSet-Cookie: a=b",
    "/jobs\x00",
    "/%0d%0a\r\n",
    "jobs",
    "",
    "/" + "a" * 5_000,
    "/\ud800",
    "/a\\..\\b",
]


@pytest.mark.parametrize("target", TARGETS)
def test_sign_in_with_any_target_leads_nowhere_else(app: Flask, target: str) -> None:
    asked = app.test_client().get("/sign-in", query_string={"next": target.encode("utf-8", "replace")})
    assert asked.status_code == (422 if "\x00" in target else 200)
    answer = sign_in(app.test_client(), "vera", PASSWORD, next=target.encode("utf-8", "replace").decode())
    if "\x00" in target:
        assert answer.status_code == 422
        return
    assert answer.status_code == 303
    assert urlsplit(answer.headers["Location"]).netloc == ""
    assert answer.headers["Location"].startswith("/")


@given(st.text() | st.text("/\\:.@?#[]%\t\r\n ab", max_size=12))
def test_a_local_path_stays_on_its_site(target: str) -> None:
    path = local_path(target)
    assert urlsplit(urljoin("http://taskyard.example/sign-in", path)).netloc == "taskyard.example"
    assert not set(path) & set("\r\n\t\\\x00")


@given(st.text() | st.text("/\\:.@?#[]htp taskyrd.exmpl", max_size=30))
def test_a_referrer_of_any_form_stays_on_its_site(address: str) -> None:
    path = path_on_host(address, "taskyard.example", "/jobs")
    assert urlsplit(urljoin("http://taskyard.example/", path)).netloc == "taskyard.example"


@pytest.mark.parametrize("target", ["/", "/jobs?status=failed&q=a%20b", "/jobs/x#tab", "/jobs?since=2h&words=a:b"])
def test_a_path_of_this_site_is_kept(target: str) -> None:
    assert local_path(target) == target


def test_an_action_with_an_odd_referrer_answers(auth: Any) -> None:
    client = auth.client("olga")
    fields = {"csrf_token": auth.csrf(client), "action": "retry", "id": "none"}
    refused = client.post("/jobs/selection", data=fields, headers={"Referer": "\x00"})
    assert refused.status_code == 400
    for referrer in ("//[", "http://[", "https://evil.example/", "http://localhost//evil.example/"):
        answer = client.post("/jobs/selection", data=fields, headers={"Referer": referrer})
        assert answer.status_code == 303
        assert urlsplit(answer.headers["Location"]).netloc == ""
