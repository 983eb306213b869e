"""Pure rules: ids, names, filters, payloads, masking, waiting times, words."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.presenters import words
from dashboard.presenters.tracebacks import frames
from workers.domain import explain, names, payloads, retrying
from workers.domain.errors import BadInput, TooLarge
from workers.domain.explain import WaitFacts
from workers.domain.filters import JobFilter
from workers.domain.ids import first_id, is_id, new_id
from workers.domain.masking import MASK, mask, mask_text
from workers.domain.states import FINAL, TRANSITIONS, Status

NOW = datetime(2026, 1, 31, 8, 0, tzinfo=UTC)
MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))  # noqa: DTZ001


@given(MOMENTS, MOMENTS)
def test_ids_sort_as_their_moments_do(one: datetime, other: datetime) -> None:
    if one < other:
        assert new_id(one) < new_id(other)
        assert new_id(one) < first_id(other)
    assert first_id(one) <= new_id(one)
    assert is_id(new_id(one))


def test_ids_of_one_moment_keep_the_order_in_which_they_were_made() -> None:
    made = [new_id(NOW) for _ in range(20_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_every_job_can_reach_an_end_and_every_end_but_completed_can_be_left_by_a_person() -> None:
    reached = set(FINAL)
    while grown := {before for before, after in TRANSITIONS if after in reached} - reached:
        reached |= grown
    assert reached == set(Status)
    assert {before for (before, _), events in TRANSITIONS.items() if before in FINAL} == {
        Status.FAILED,
        Status.CANCELED,
    }


@pytest.mark.parametrize("name", ["", " ", "a b", "-x", "x" * 65, "a:high", "ä", "a/b", "a\n", "<b>"])
def test_odd_queue_names_are_refused(name: str) -> None:
    with pytest.raises(BadInput):
        names.check_queue(name)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**60), 2**60)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=4),
    )
)
def test_what_is_kept_is_read_back_the_same(value: Any) -> None:
    assert payloads.load(payloads.dump(value)) == value


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), deep(100), {1: 2}, "\x00", "\ud800", b"x", 10**400, {"a": {1}}]
)
def test_what_json_or_a_database_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(BadInput):
        payloads.dump(value)


def test_more_than_a_megabyte_is_too_large() -> None:
    with pytest.raises(TooLarge):
        payloads.dump({"text": "ü" * 500_001})


@pytest.mark.parametrize(
    "key", ["password", "PASSWORD", "db_password", "api_key", "apiKey", "Authorization", "client-secret", "token"]
)
def test_values_under_secret_names_are_masked(key: str) -> None:
    assert mask({key: "hunter2", "deep": [{key: "hunter2"}]}) == {key: MASK, "deep": [{key: MASK}]}


@pytest.mark.parametrize(
    "text",
    [
        "password=hunter2",
        "Authorization: Bearer hunter2",
        "postgresql://me:hunter2@db/x",
        '"token": "hunter2"',
        "api_key: hunter2",
    ],
)
def test_secrets_in_a_line_of_log_are_masked(text: str) -> None:
    assert "hunter2" not in mask_text(text)


def test_ordinary_words_stay() -> None:
    text = "sent 3 of 4: ok, passed = true, pins 5"
    assert mask_text(text) == text


def test_waits_double_and_do_not_come_back_together() -> None:
    waits = [retrying.delay_seconds(n, rng=random.Random(1)) for n in (1, 2, 3)]
    assert waits == pytest.approx([60, 120, 240], rel=0.1)
    assert len({retrying.delay_seconds(1) for _ in range(50)}) > 40
    assert retrying.delay_seconds(99) <= 24 * 3600 * 1.1


def test_a_tasks_own_waits_are_kept_and_the_last_repeats() -> None:
    assert [retrying.delay_seconds(n, [5, 10, 15]) for n in (1, 2, 3, 4)] == [5, 10, 15, 15]


def test_a_filter_survives_its_way_through_an_address() -> None:
    wanted = JobFilter.from_args(
        {"status": "failed,canceled", "task": "reports.*", "queue": "a,b", "since": "2h", "q": "x y"}, NOW
    )
    assert wanted.since == NOW - timedelta(hours=2)
    assert JobFilter.from_args(wanted.to_args(), NOW) == wanted


@pytest.mark.parametrize(
    "args", [{"status": "odd"}, {"task": "a b"}, {"queue": "a b"}, {"since": "9999999d"}, {"since": "soon"}, {"batch": "1"},
             {"q": "x" * 201}, {"queue": ",".join("abcdefghijklmnopqrstuvwxyz" * 2)}, {"priority": "urgent"}]
)  # fmt: skip
def test_filters_that_cannot_be_used_name_their_field(args: dict[str, str]) -> None:
    with pytest.raises(BadInput) as refused:
        JobFilter.from_args(args, NOW)
    assert refused.value.errors[0]["field"] == next(iter(args))


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"paused_at": NOW, "paused_by": "ada", "workers": 1}, "was paused by ada at 2026-01-31 08:00:00 UTC"),
        ({"workers": 0}, "No worker listens to reports. Start one"),
        ({"workers": 0, "lost_workers": 1}, "No worker listens to reports. 1 worker of this queue is lost."),
        ({"workers": 0, "lost_workers": 2}, "2 workers of this queue are lost."),
        ({"workers": 2, "busy": 1}, "The job is next; a worker is about to start it."),
        ({"workers": 2, "busy": 2}, "The job is next: every worker of reports is busy (2 of 2)."),
        ({"workers": 2, "ahead": 412, "rate_per_minute": 45.0}, "412 jobs are ahead of it on reports, about 9 min"),
        ({"workers": 2, "ahead": 1}, "1 job is ahead of it on reports; none ended there in the last minute."),
        (
            {"workers": 4, "busy": 4, "busy_elsewhere": 4, "ahead": 28, "longest_run_seconds": 360.0},
            "28 jobs are ahead of it on reports; none ended there in the last minute. "
            "Every worker of reports is busy (4 of 4), 4 with jobs of other queues, the longest for 6 min.",
        ),
        ({"workers": 1, "ahead": 30, "rate_per_minute": 1435.0}, ", less than a minute at the rate of the last minute"),
        ({"workers": 1, "ahead": 10_000, "rate_per_minute": 0.2}, ", more than a day at the rate"),
        (
            {"workers": 1, "ahead": 125, "rate_per_minute": 1.0},
            ", about 2 h 5 min at the rate of the last minute (1 job)",
        ),
        (
            {"workers": 1, "ahead": 10_000, "ahead_is_capped": True, "rate_per_minute": 100.0},
            "10,000+ jobs are ahead of it",
        ),
        ({"workers": 1, "ahead": 10_000, "ahead_is_capped": True, "rate_per_minute": 100.0}, "at least 1 h 40 min"),
        ({"workers": 3, "busy": 1, "ahead": 2, "rate_per_minute": 1.0}, "1 of 3 workers is busy."),
        ({"workers": 1, "busy": 1, "waiting_elsewhere": 1}, "1 job waiting on other queues that they serve"),
        (
            {"workers": 1, "redis_trouble": "Redis is full. Give it more memory."},
            "Redis is full. Give it more memory.",
        ),
        ({"workers": 1, "task": "a.b", "task_is_known": False}, "No worker has published the task a.b."),
    ],
)
def test_a_waiting_job_says_why(facts: dict[str, Any], said: str) -> None:
    assert said in explain.sentence(WaitFacts(Status.PENDING, "reports", NOW, **facts))


def test_every_cause_that_holds_a_job_is_named() -> None:
    facts = WaitFacts(
        Status.PENDING, "reports", NOW, "a.b", False, redis_trouble="Redis is full.", paused_at=NOW, ahead=9
    )
    words = explain.sentence(facts)
    assert len(explain.causes(facts)) == 4
    for cause in ("Redis is full.", "the task a.b", "was paused", "No worker listens"):
        assert cause in words
    assert "ahead" not in words


@pytest.mark.parametrize(
    ("status", "late", "said"),
    [
        (Status.SCHEDULED, -60, "The job is scheduled for 2026-01-31 08:01:00 UTC. It moves to reports then."),
        (Status.SCHEDULED, 60, "The job was due at 2026-01-31 07:59:00 UTC, 1 min ago, but no scheduler has moved it"),
        (Status.RETRY_SCHEDULED, -60, "Attempt 1 failed; the next attempt is due at 2026-01-31 08:01:00 UTC."),
        (Status.RETRY_SCHEDULED, 3600, "1 h ago, but no scheduler has moved it"),
    ],
    ids=["scheduled", "overdue", "retry", "overdue retry"],
)
def test_a_job_that_waits_for_its_time_says_when_it_is_due(status: Status, late: int, said: str) -> None:
    facts = WaitFacts(status, "reports", NOW, due_at=NOW - timedelta(seconds=late))
    assert said in explain.sentence(facts)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, "–"), (0, "0 ms"), (0.24, "240 ms"), (0.9999, "1 s"), (1.25, "1.2 s"), (59.6, "1 min"), (130, "2 min 10 s"), (1800, "30 min"), (3900, "1 h 5 min"), (11100, "3 h 5 min"), (86400, "1 d"), (187200, "2 d 4 h")],
)  # fmt: skip
def test_durations_read_well(seconds: float | None, said: str) -> None:
    assert words.duration(seconds) == said


@pytest.mark.parametrize(
    ("value", "said"), [(0, "0"), (9999, "9,999"), (24_930, "24.9K"), (499_999, "500K"), (500_000, "500K+")]
)
def test_large_numbers_take_little_room(value: int, said: str) -> None:
    assert words.compact(value) == said


def test_a_traceback_lights_the_frames_of_the_users_own_code() -> None:
    text = (
        "Traceback (most recent call last):\n"
        '  File "/srv/own/reports.py", line 7, in daily\n    total = add(rows)\n'
        '  File "/usr/lib/python3.11/json/decoder.py", line 355, in raw_decode\n    raise x\nValueError: no'
    )
    assert [(one.name, one.is_own, one.source) for one in frames(text)] == [
        ("daily", True, "total = add(rows)"),
        ("raw_decode", False, "raise x"),
    ]
