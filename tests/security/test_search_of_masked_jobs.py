"""A search finds what a viewer may see, and says nothing about what is masked."""

from __future__ import annotations

import string
from typing import Any

from workers import registry
from workers.domain.filters import JobFilter
from workers.services import jobs, publishing
from workers.services.enqueueing import NewJob
from workers.store import job_lists
from workers.yard import Yard


def publish_task(yard: Yard) -> None:
    def call(api_key: str, iban: str, city: str) -> None: ...

    call.__module__ = "own.remote"
    definition = registry.define(call, secret=("iban",))
    registry.REGISTRY.pop("own.remote.call")
    publishing.publish(yard, {definition.name: definition})


def found(yard: Yard, words: str, **options: Any) -> list[str]:
    with yard.database.read() as connection:
        page = job_lists.jobs_page(connection, JobFilter.from_args({"q": words}), **options)
        count, _ = job_lists.count_matching(connection, JobFilter.from_args({"q": words}))
        ids, _ = job_lists.ids_matching(connection, JobFilter.from_args({"q": words}), None, 500)
    assert [row["id"] for row in page.rows] == ids[: len(page.rows)]
    assert count == len(ids)
    return ids


def test_a_masked_value_cannot_be_found_letter_by_letter(yard: Yard) -> None:
    publish_task(yard)
    secret = "Qzv7"
    for _ in range(3):
        jobs.enqueue(
            yard, NewJob("own.remote.call", {"api_key": f"{secret}xyz", "iban": f"DE{secret}", "city": "Berlin"})
        )
    for letter in string.ascii_letters + string.digits:
        for start in ("", "Q", "Qz", "Qzv"):
            guess = f'"api_key":"{start}{letter}'
            assert found(yard, guess) == []
    for words in (secret, "qzv7", "DEQzv7", "Qz", f'{secret}xyz"'):
        assert found(yard, words) == []
    assert len(found(yard, "Berlin")) == 3
    assert len(found(yard, "berlin")) == 3
    assert len(found(yard, "own.remote.call")) == 3


def test_pages_of_a_search_hold_every_job_once(yard: Yard) -> None:
    publish_task(yard)
    made = []
    for number in range(30):
        hidden = "needle" if number % 2 else "nothing"
        shown = "needle" if number % 3 == 0 else "other"
        made.append(
            jobs.enqueue(yard, NewJob("own.remote.call", {"api_key": hidden, "iban": hidden, "city": shown})).job_id
        )
    expected = [job_id for number, job_id in enumerate(made) if number % 3 == 0][::-1]
    with yard.database.read() as connection:
        collected, cursor = [], None
        while True:
            page = job_lists.jobs_page(connection, JobFilter(q="needle"), cursor=cursor, limit=3)
            collected += [row["id"] for row in page.rows]
            cursor = page.next_cursor
            if cursor is None:
                break
    assert collected == expected


def test_many_hidden_matches_do_not_hide_what_is_shown(yard: Yard) -> None:
    publish_task(yard)
    visible = jobs.enqueue(yard, NewJob("own.remote.call", {"api_key": "x", "iban": "x", "city": "needle"})).job_id
    payload = {"api_key": "needle", "iban": "needle", "city": "x"}
    jobs.enqueue_many(yard, [NewJob("own.remote.call", payload) for _ in range(450)])
    assert found(yard, "needle") == [visible]
