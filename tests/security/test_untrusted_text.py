"""Text of strangers: it forges no line, steers no terminal, reverses no page and hides in no name."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dashboard.live import NAMESPACE, socketio
from dashboard.pages.jobs import _cell
from tests.conftest import running_worker
from tests.support import eventually
from workers import loading, registry
from workers import logs as process_logs
from workers.domain.actors import Actor
from workers.domain.errors import BadInput
from workers.domain.untrusted import check_label, lines_of, visible, visible_json, visible_line
from workers.services import alerting, channels, jobs, publishing, rules, schedules, tokens, triggers
from workers.services.enqueueing import NewJob
from workers.settings import Settings
from workers.yard import Yard

ADA = Actor("user", "ada", "admin")
KEY = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
UNSEEN = [chr(code) for code in [*range(9), 11, 12, *range(14, 32), *range(127, 160), 0x061C, 0x2028, 0x2029]]
UNSEEN += [
    chr(code) for code in [*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x2060, 0xFEFF]
]
HARMFUL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060\u2066-\u2069\ufeff]"
)
UNRULY = "start \x1b[31mred\x1b[0m \x1b]0;title\x07 \x9b2J\r2026-01-01T00:00:00 error forged\nINFO second \u202eesrever\u202c zero\u200bwidth end"


@pytest.mark.parametrize("letter", UNSEEN, ids=lambda letter: f"{ord(letter):04x}")
@pytest.mark.parametrize("shown", [visible, visible_line, visible_json, lambda text: json.loads(visible_json(text))])
def test_every_unseen_character_becomes_visible(letter: str, shown: Any) -> None:
    text = f"ab{letter}cd"
    if shown("é") == "é" and shown is not visible_json and shown not in (visible, visible_line):
        assert shown(text) == text  # the escapes of JSON read back the same
        return
    assert letter not in shown(text)


@given(st.text())
@settings(max_examples=500, deadline=None)
def test_what_was_made_visible_stays_as_it_is(text: str) -> None:
    assert visible(visible(text)) == visible(text)
    assert visible_line(visible_line(text)) == visible_line(text)
    assert not HARMFUL.search(visible(text))
    assert len(visible_line(text).splitlines()) <= 1


@pytest.mark.parametrize("text", ["👨‍👩‍👧 family", "می‌خواهم", "Grüße, naïve", "日本語", "a\tb\nc"])
def test_letters_and_emoji_stay(text: str) -> None:
    assert visible(text) == text


def test_the_lines_of_a_text_are_told_apart_wherever_a_reader_would() -> None:
    assert lines_of("a\nb\r\nc\rd\x0be\u2028f\x85g\n") == ["a", "b", "c", "d", "e", "f", "g"]


@pytest.fixture
def unruly_job(app: Any, light_yard: Yard, auth: Any) -> Any:
    loading.load_modules(("tests.security.leaking_tasks",))
    publishing.publish(light_yard, registry.REGISTRY)
    live = socketio.test_client(app, namespace=NAMESPACE, flask_test_client=auth.client("vera"))
    made = jobs.enqueue(
        light_yard, NewJob("tests.security.leaking_tasks.unruly", {"text": UNRULY}, created_by="olga")
    ).job_id
    live.emit("watch", {"rooms": [f"job:{made}", "jobs"]}, namespace=NAMESPACE)
    with running_worker(light_yard, TASK_MODULES="tests.security.leaking_tasks"):
        eventually(lambda: ended(light_yard, made), within=40)
    yield made, live
    live.disconnect(NAMESPACE)


def ended(yard: Yard, job_id: str) -> None:
    with yard.database.read() as connection:
        assert jobs.get(connection, job_id)["status"] == "failed"


def test_a_job_that_writes_unruly_text_harms_nobody(
    app: Any, auth: Any, light_yard: Yard, unruly_job: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    job_id, live = unruly_job
    client = auth.client("vera")
    text = client.get(f"/jobs/{job_id}/logs.txt").get_data(as_text=True)
    assert not HARMFUL.search(text)
    assert all(re.match(r"\d{4}-\d\d-\d\dT\S+ (info|print|warning|error) ", line) for line in text.splitlines())
    assert "start red" in text
    assert "\\u202eesrever" in text
    for path in (
        f"/jobs/{job_id}",
        *(f"/jobs/{job_id}?tab={tab}" for tab in ("payload", "logs", "error", "events")),
        "/jobs",
    ):
        page = client.get(path).get_data(as_text=True)
        assert not HARMFUL.search(page), path
    assert not HARMFUL.search(json.dumps(live.get_received(NAMESPACE), ensure_ascii=False))
    environment = {"DATA_DIR": str(light_yard.settings.data_dir), "DATABASE_URL": light_yard.settings.database_url}
    environment |= {"REDIS_URL": light_yard.settings.effective_redis_url, "PATH": "/usr/bin:/bin"}
    for words in (["jobs"], ["jobs", "--json"]):
        done = subprocess.run(
            [sys.executable, "app.py", *words], env=environment, capture_output=True, text=True, timeout=60
        )
        assert "unruly" in done.stdout, done.stderr
        assert not HARMFUL.search(done.stdout)
        assert len(done.stdout.strip("\n").split("\n")) == 1
    captured = capfd.readouterr()
    assert not HARMFUL.search(captured.err)


NAMES = [
    "a\u202eb",
    "a\u200bb",
    "ad\u200dmin",
    "a\x1b[1mb",
    "a\nb",
    "a\rb",
    "a\x00b",
    "a\u2066b",
    "\ufeffa b",
    "a\u00adb",
]


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_a_name_that_hides_something_is_refused(light_yard: Yard, name: str) -> None:
    yard = light_yard
    schedule = {"name": name, "task": "samples.noop", "cron": "0 6 * * *"}
    calls = [
        lambda: schedules.create(yard, schedule, ADA),
        lambda: schedules.create(yard, {**schedule, "name": "x", "tags": [name]}, ADA),
        lambda: triggers.create(yard, {"name": name, "listens": "a.b", "task": "samples.noop"}, ADA),
        lambda: tokens.create(yard, name, "viewer", None, ADA),
        lambda: rules.create(yard, "failed", {"name": name}, ADA),
        lambda: channels.create(yard, name, "json://example.com", ADA),
        lambda: check_label(name, 100),
    ]
    for call in calls:
        with pytest.raises(BadInput):
            call()


def test_a_name_of_earlier_days_reverses_no_page(auth: Any, app: Any, light_yard: Yard) -> None:
    from sqlalchemy import text

    row = schedules.create(light_yard, {"name": "plain", "task": "samples.noop", "cron": "0 6 * * *"}, ADA)
    with light_yard.database.write() as connection:
        connection.execute(text("UPDATE schedules SET name = :name"), {"name": "rev\u202e\u200b\x1b[31m"})
    client = auth.client("vera")
    for path in ("/schedules", f"/schedules/{row['id']}", "/palette?q=rev", "/"):
        answer = client.get(path)
        page = answer.json["groups"][0]["items"][0]["label"] if path.startswith("/palette") else answer.text
        assert not HARMFUL.search(page), path


def test_a_note_on_an_alert_is_one_harmless_line(light_yard: Yard) -> None:
    assert alerting.check_note("a\nb\u202e password=hunter2xyz") == "a\\nb\\u202e password=••••••"


def formatted(form: str, record: logging.LogRecord, tmp_path: Any) -> str:
    settings = Settings.from_env({"DATA_DIR": str(tmp_path), "LOG_FORMAT": form, "SECRET_KEY": KEY})
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    try:
        process_logs.configure(settings, "web")
        return root.handlers[0].format(record)
    finally:
        root.handlers[:] = before
        root.setLevel(level)


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_log_of_a_process_is_not_forged_and_tells_no_secret(form: str, tmp_path: Any) -> None:
    try:
        raise ValueError("connect postgres://u:hunter2xyz@h/db\n13:00:00 web       error: forged \x1b[2J" + KEY)
    except ValueError:
        trace = sys.exc_info()
    record = logging.LogRecord("x", logging.ERROR, "x", 1, "sign-in of %s", ("bob\n13:00:00 web forged\u202e",), trace)
    text = formatted(form, record, tmp_path)
    assert not HARMFUL.search(text)
    assert "hunter2xyz" not in text
    assert KEY not in text
    first, *rest = text.split("\n")
    assert "\\n13:00:00" in first
    assert all(line.startswith("    ") for line in rest)


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1+1",
        "-1+cmd",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        " =1",
        "＝1+1",
        "＋1",
        "－x",
        "＠x",
        "\u3000=1",
        "|x",
        "%x",
    ],
)
def test_a_cell_that_would_be_a_formula_is_text(text: str) -> None:
    assert _cell(text) == "'" + text


@pytest.mark.parametrize("text", ["-5", "+5", "-1.5e3", "words = more", "", "a@b"])
def test_other_cells_stay(text: str) -> None:
    assert _cell(text) == text
