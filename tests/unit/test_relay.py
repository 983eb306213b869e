"""The relay's folding: one message per room and window, the last state always, nothing for rooms that nobody watches."""

from __future__ import annotations

import json
from typing import Any

from dashboard.relay import MAX_LINES, MAX_ROOM_BYTES, MAX_WAITING_BYTES, Coalescer
from tests.support import eventually
from workers.broker.live import MAX_BYTES

JOB = "018f0000-0000-7000-8000-000000000000"


class Sent:
    def __init__(self, *watched: str) -> None:
        self.events: list[tuple[str, Any, str]] = []
        self.relay = Coalescer(
            lambda event, data, room: self.events.append((event, data, room)), set(watched).__contains__
        )

    def take(self, **message: Any) -> None:
        self.relay.take(json.dumps(message).encode())


def progress(sent: Sent, version: int, done: int) -> None:
    sent.take(type="progress", job_id=JOB, version=version, done=done, progress=done)


def test_a_hundred_words_of_one_job_become_one() -> None:
    sent = Sent("jobs")
    for n in range(100):
        progress(sent, n, n)
    sent.relay.flush()
    [(event, jobs, room)] = sent.events
    assert (event, room, [one["done"] for one in jobs]) == ("progress", "jobs", [99])


def test_an_older_word_does_not_undo_a_newer_one() -> None:
    sent = Sent("jobs")
    progress(sent, 7, 70)
    progress(sent, 3, 30)
    sent.relay.flush()
    assert sent.events[0][1][0]["done"] == 70


def test_a_room_that_nobody_watches_costs_nothing() -> None:
    sent = Sent(f"job:{JOB}")
    progress(sent, 1, 1)
    sent.take(type="log", job_id=JOB, attempt=1, lines=[{"line": "x"}])
    sent.take(type="changed", kind="queue", id="default", status="paused")
    sent.relay.flush()
    assert {room for _, _, room in sent.events} == {f"job:{JOB}"}


def test_a_flood_of_lines_is_bounded_and_the_last_ones_stay() -> None:
    sent = Sent(f"job:{JOB}")
    for n in range(MAX_LINES * 3):
        sent.take(type="log", job_id=JOB, attempt=1, lines=[{"line": str(n)}])
    sent.relay.flush()
    lines = sent.events[0][1]["lines"]
    assert (len(lines), lines[-1]["line"]) == (MAX_LINES, str(MAX_LINES * 3 - 1))


def test_what_cannot_be_read_is_passed_over() -> None:
    sent = Sent("jobs")
    for raw in (b"", b"{", b"[1]", b'"x"', b"null", b"\xff", b'{"type":"progress"}', b'{"type":"odd"}'):
        sent.relay.take(raw)
    sent.relay.flush()
    assert sent.events == []


def test_nothing_is_sent_twice() -> None:
    sent = Sent("jobs")
    progress(sent, 1, 1)
    assert sent.relay.flush() is True
    assert sent.relay.flush() is False


def published(sent: Sent, n: int, size: int) -> None:
    sent.take(type="published", channel="prices", event=str(n), data="x" * size)


def test_published_events_are_bounded_by_size_and_the_last_ones_stay() -> None:
    sent = Sent("channel:prices")
    for n in range(100):
        published(sent, n, 20_000)
    sent.relay.flush()
    assert sum(len(event["data"]) for _, event, _ in sent.events) <= MAX_ROOM_BYTES
    assert sent.events[-1][1]["event"] == "99"


def test_lines_are_bounded_by_size() -> None:
    sent = Sent(f"job:{JOB}")
    for n in range(200):
        sent.take(type="log", job_id=JOB, attempt=1, lines=[{"line": f"{n} " + "x" * 10_000}])
    sent.relay.flush()
    lines = sent.events[0][1]["lines"]
    assert sum(len(line["line"]) for line in lines) <= MAX_ROOM_BYTES
    assert lines[-1]["line"].startswith("199 ")


def test_a_message_that_is_too_large_or_too_deep_is_passed_over() -> None:
    sent = Sent("channel:prices")
    published(sent, 1, MAX_BYTES)
    sent.relay.take(b'{"type": "published", "data": ' + b"[" * 60_000)
    sent.relay.flush()
    assert sent.events == []


def test_a_flood_within_one_window_is_bounded_and_the_next_window_goes_on() -> None:
    sent = Sent(*(f"channel:{n}" for n in range(1_000)))
    for n in range(1_000):
        sent.take(type="published", channel=str(n), event="e", data="x" * 20_000)
    sent.relay.flush()
    assert sum(len(event["data"]) for _, event, _ in sent.events) <= MAX_WAITING_BYTES + MAX_BYTES
    sent.events.clear()
    sent.take(type="published", channel="7", event="e", data="later")
    sent.relay.flush()
    assert [event["data"] for _, event, _ in sent.events] == ["later"]


def test_a_room_with_many_viewers_gets_fewer_messages_and_the_last_state() -> None:
    sent = Sent("jobs", "queues")
    sent.relay = Coalescer(lambda *event: sent.events.append(event), lambda _room: True, lambda _room: 1_000)
    progress(sent, 1, 1)
    sent.relay.flush()
    progress(sent, 2, 2)
    progress(sent, 3, 3)
    assert sent.relay.flush() is False
    assert 0 < sent.relay.seconds_to_wait(10) <= 1
    eventually(lambda: check(sent.relay.flush()), within=10)
    assert [[job["done"] for job in jobs] for _event, jobs, room in sent.events if room == "jobs"] == [[1], [3]]


def check(value: bool) -> None:
    assert value


def test_a_heartbeat_goes_to_every_page_and_is_no_change() -> None:
    sent = Sent("status")
    before = sent.relay.sequence
    sent.take(type="heartbeat")
    assert sent.events == [("heartbeat", {}, "status")]
    assert sent.relay.heartbeat_at is not None
    assert sent.relay.sequence == before
    sent.take(type="changed", kind="queue", id="default", status="paused")
    assert sent.relay.sequence == before + 1
