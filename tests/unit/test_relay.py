"""The relay's folding: one message per room and window, the last state always, nothing for rooms that nobody watches."""

from __future__ import annotations

import json
from typing import Any

from dashboard.relay import MAX_LINES, Coalescer

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
