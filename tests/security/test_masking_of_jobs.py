"""Secrets are masked wherever they could be shown, and nothing else is."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from workers import registry
from workers.domain.masking import MASK, JobMasker, is_secret, mask, mask_result, mask_text, secret_values
from workers.services import execution, jobs, publishing
from workers.services.enqueueing import NewJob
from workers.services.execution import Ending
from workers.yard import Yard

SECRET_KEYS = (
    "password passwd pw pwd auth bearer jwt passcode password_hash passwordHash sessionid sessionId session_id api_key "
    "apiKey APIKey X-Api-Key Authorization clientSecret client_secret db_password PGPASSWORD userpassword access_token "
    "accessToken privateKey card_number pin cvv Set-Cookie secret_key refresh_token x-auth token auth_header passphrase "
    "MYSQL_PWD dbPass credentials signature webhook-signature otp PASSWORD2 password1 API_KEY_2 smtp.password totp"
).split()
PLAIN_KEYS = (
    "nTokens max_tokens token_count signature_date author authority passenger monkey keyboard secretary tokenizer "
    "compass spin password_policy token_type session_count primary_key key sort_key cookie_count expires_at id name passes "
    "authored design assigned pinned url user username host email"
).split()
SHAPES = [
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "github_pat_11ABCDEFG0123456789abcdefghij",
    "xoxb-123456789012-abcdefghijkl",
    "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "ty_abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG",
    "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",
]
WEBHOOK = "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX"


@pytest.mark.parametrize("key", SECRET_KEYS)
def test_a_value_under_a_secret_name_is_masked_however_it_is_spelled(key: str) -> None:
    assert is_secret(key)
    assert mask({key: "hunter2", "deep": [{key: 12345}]}) == {key: MASK, "deep": [{key: MASK}]}


@pytest.mark.parametrize("key", PLAIN_KEYS)
def test_a_value_under_another_name_is_kept(key: str) -> None:
    assert mask({key: "some words"}) == {key: "some words"}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_credential_is_known_by_its_shape_wherever_it_stands(shape: str) -> None:
    for value in (shape, f"failed with {shape}.", f'{{"a": "{shape}"}}', f"https://a.example/?x={shape}&y=1"):
        assert shape not in json.dumps(mask({"note": value}))
        assert shape not in json.dumps(mask_result({"note": [value]}))
        assert shape not in mask_text(value)


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ('password = "my secret words"', "words"),
        ("password = 'it\\'s hidden'", "hidden"),
        ("password: hunter2", "hunter2"),
        ("PGPASSWORD=hunter2 psql", "hunter2"),
        ("psql --password hunter2 -h x", "hunter2"),
        ("--api-key=hunter2", "hunter2"),
        ("Authorization: Bearer abc.def-1", "abc"),
        ("authorization=Basic dXNlcjpwdw==", "dXNlcjpwdw"),
        ("sent Bearer abcdef123456 to it", "abcdef123456"),
        ("Cookie: a=b; session=xyz", "xyz"),
        ("postgres://user:pw@host/db", ":pw@"),
        ("postgres://user:p%40ss@wo@host/db", "wo@"),
        ("amqp://:hunter2@host", "hunter2"),
        ("host=db password=hunter2 user=x", "hunter2"),
        ("{'password': 'hunter two', 'a': 1}", "hunter"),
        ('{"api_key": "hunter2"}', "hunter2"),
        ('{\\"password\\": \\"hunter two\\"}', "hunter"),
        (f"posting to {WEBHOOK} failed", "XXXX"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAK\n-----END RSA PRIVATE KEY-----", "MIIEow"),
        ("ValueError: token=abc, retry", "abc"),
    ],
)
def test_secrets_in_text_are_masked_whole(text: str, secret: str) -> None:
    masked = mask_text(text)
    assert secret not in masked
    assert MASK in masked
    assert mask_text(masked) == masked


@pytest.mark.parametrize(
    "text",
    [
        'File "/app/x.py", line 3, in run',
        "error at 12:30:45: http://a.example:8080/b?c=d failed",
        "basic understanding of bearer certificates",
        "password is None",
        "the author: someone",
        "tokens=512 nTokens: 3",
        "KeyError: 'monkey'",
        "x = y == z",
    ],
)
def test_other_text_is_kept(text: str) -> None:
    assert mask_text(text) == text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.sampled_from(SECRET_KEYS), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(JSON)
def test_masking_twice_changes_nothing_and_no_value_fails(value: Any) -> None:
    assert mask(mask(value)) == mask(value)
    assert mask_result(mask_result(value)) == mask_result(value)


@given(st.text() | st.text("pasword=:\"'\\ \n-{}a", max_size=60))
def test_no_text_fails_and_masked_text_stays(text: str) -> None:
    assert mask_text(mask_text(text)) == mask_text(text)


@pytest.mark.parametrize(
    "piece",
    ["a", "password=", '"', "://a:", "eyJ", "eyJ.", "SG.", 'a: "', "-----BEGIN PRIVATE KEY-----", "bearer ", "=\\", "--a ", "a.",
     ' \t', '\\"', "cookie:", "ghp_", "-eyJ", "'\\", "xoxb-", "://@", "authorization"],
)  # fmt: skip
def test_hostile_text_takes_linear_time(piece: str) -> None:
    text = piece * (400_000 // len(piece))
    start = time.perf_counter()
    mask_text(text)
    assert time.perf_counter() - start < 8


@pytest.mark.parametrize(
    "value",
    [
        {"name": "Authorization", "value": "hunter2"},
        {"key": "api_key", "value": "hunter2"},
        ["Authorization", "hunter2"],
        ["X-Api-Key", "hunter2"],
        ["mysql", "--password", "hunter2"],
        {"command": "mysql --password=hunter2"},
        {"body": '{"password": "hunter2"}'},
        {"query": "a=1&access_token=hunter2&b=2"},
        {"headers": [{"name": "Cookie", "value": "hunter2"}]},
        {"url": "https://user:hunter2@a.example/"},
    ],
)
def test_pairs_and_text_inside_of_values_are_masked(value: Any) -> None:
    assert "hunter2" not in json.dumps(mask(value))
    assert "hunter2" not in json.dumps(mask({"deep": [value]}))


def test_results_are_not_damaged() -> None:
    result = {
        "columns": {"nTokens": 3, "pin": "1234", "signature_date": "2026-01-01", "password": {"count": 3}},
        "rows": [["Authorization", "x"]],
    }
    assert mask_result(result) == result


def test_a_result_is_masked_where_the_task_says_so() -> None:
    assert mask_result({"pin": "1234", "rows": [{"iban": "x", "n": 1}]}, ("iban",)) == {
        "pin": "1234",
        "rows": [{"iban": MASK, "n": 1}],
    }


def test_the_values_of_a_payload_are_found_in_other_text() -> None:
    payload = {"api_key": "opensesame", "pin": 123456, "name": "ali", "deep": [{"password": "short"}]}
    assert secret_values(payload) == {"opensesame", "123456"}
    assert JobMasker(payload).text("bad key opensesame!") == f"bad key {MASK}!"


PLANTED = "zq-planted-7731"


@pytest.fixture
def failed_job(light_yard: Yard) -> str:
    """Make a job with a planted secret that has failed in every way a task can tell of it."""

    def call(api_key: str, iban: str, headers: list[Any]) -> None: ...

    call.__module__ = "own.remote"
    definition = registry.define(call, secret=("iban",))
    registry.REGISTRY.pop("own.remote.call")
    publishing.publish(light_yard, {definition.name: definition})
    payload = {"api_key": PLANTED, "iban": PLANTED, "headers": [{"name": "Authorization", "value": PLANTED}]}
    url = f"https://a.example/?token={PLANTED}"
    job_id = jobs.enqueue(light_yard, NewJob("own.remote.call", payload, callback_url=url, max_retries=0)).job_id
    execution.begin(light_yard, job_id, 1, "w")
    ending = Ending(
        "failed",
        error=f"ValueError: password={PLANTED}\npostgres://user:{PLANTED}@host/db",
        traceback=f'Traceback:\n  password = "{PLANTED} and more"\nValueError: token: {PLANTED}',
        progress={"message": f"api_key={PLANTED}", "step": f"token={PLANTED}"},
    )
    execution.end(light_yard, job_id, 1, ending)
    return job_id


def test_a_planted_secret_is_nowhere_to_be_seen(app: Flask, auth: Any, light_yard: Yard, failed_job: str) -> None:
    pages = [f"/jobs/{failed_job}?tab={tab}" for tab in ("payload", "result", "error", "logs", "attempts", "events")]
    pages += [f"/jobs/{failed_job}/edit", "/jobs", "/jobs?status=failed", "/", "/stuck", "/audit", "/queues/default"]
    pages += [
        "/jobs/export?format=csv",
        "/jobs/export?format=ndjson",
        f"/jobs/{failed_job}/logs.txt",
        "/palette?q=remote",
    ]
    calls = [f"/api/v1/jobs/{failed_job}{part}" for part in ("", "/attempts", "/events", "/logs", "/explanation")]
    calls += ["/api/v1/jobs", "/api/v1/jobs?status=failed", "/api/v1/stuck-jobs", "/api/v1/alerts", "/metrics"]
    for name in ("vera", "olga", "ada"):
        client = auth.client(name)
        for path in pages + calls:
            answer = client.get(path)
            assert answer.status_code in {200, 403}, path
            assert PLANTED not in answer.text, (name, path)


def test_a_secret_in_an_error_is_not_even_stored(yard: Yard) -> None:
    job_id = jobs.enqueue(yard, NewJob("samples.noop", max_retries=0)).job_id
    execution.begin(yard, job_id, 1, "w")
    ending = Ending("failed", error=f"password={PLANTED}", traceback=f"token={PLANTED}")
    execution.end(yard, job_id, 1, ending)
    from sqlalchemy import text

    with yard.database.read() as connection:
        stored = [
            tuple(row)
            for table in ("jobs", "attempts", "job_events")
            for row in connection.execute(text(f"SELECT * FROM {table}"))
        ]
    assert len(stored) >= 3
    assert PLANTED not in repr(stored)


def test_old_rows_are_masked_when_they_are_read(yard: Yard) -> None:
    job_id = jobs.enqueue(yard, NewJob("samples.noop")).job_id
    from sqlalchemy import text

    with yard.database.write() as connection:
        connection.execute(text("UPDATE jobs SET error = :error"), {"error": f"password={PLANTED}"})
    with yard.database.read() as connection:
        assert jobs.get(connection, job_id)["error"] == f"password={MASK}"
