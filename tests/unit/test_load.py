"""A week of all schedules: laid out as they fire, crowds found, and spread without making new ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from workers.domain.cron import Rhythm
from workers.domain.load import MINUTES, crowds, stagger, week

MONDAY = datetime(2026, 3, 23, tzinfo=ZoneInfo("Europe/Berlin"))  # the week in which the clocks go forward


@pytest.mark.parametrize(
    "rhythm",
    [
        Rhythm(cron="*/20 * * * *", timezone="Europe/Berlin"),
        Rhythm(cron="30 2 * * *", timezone="Europe/Berlin"),
        Rhythm(cron="15 6,18 * * MON-FRI", timezone="America/New_York"),
        Rhythm(cron="0 12 28 * *", timezone="Asia/Kolkata"),
        Rhythm(cron="@daily", timezone="Pacific/Chatham"),
        Rhythm(cron="0 9 * * TUE#4"),
        Rhythm(interval_seconds=5400, anchor=datetime(2026, 1, 1, 0, 7, tzinfo=UTC)),
        Rhythm(once_at=datetime(2026, 3, 25, 8, 30, tzinfo=UTC)),
        Rhythm(cron="0 * * * *", starts_at=datetime(2026, 3, 27, tzinfo=UTC)),
        Rhythm(cron="0 * * * *", ends_at=datetime(2026, 3, 24, tzinfo=UTC)),
    ],
)
def test_the_week_has_a_start_for_each_fire(rhythm: Rhythm) -> None:
    begin = MONDAY.astimezone(UTC)
    expected = [0] * MINUTES
    for one in rhythm.between(begin - timedelta(seconds=1), begin + timedelta(minutes=MINUTES, seconds=-1), 20_000):
        expected[(one - begin) // timedelta(minutes=1)] += 1
    assert list(week({"x": rhythm}, MONDAY).starts) == expected
    assert sum(expected) > 0


def test_what_runs_every_minute_crowds_nobody() -> None:
    load = week({str(n): Rhythm(cron="* * * * *") for n in range(5)}, MONDAY)
    assert load.hours() == [5] * 168
    assert crowds(load) == []


def test_a_crowd_is_spread_to_the_quietest_minutes() -> None:
    rhythms = {name: Rhythm(cron="0 6 * * *") for name in "abcd"}
    rhythms |= {"busy": Rhythm(cron="1 6 * * *"), "odd": Rhythm(cron="*/30 6 * * *")}
    load = week(rhythms, MONDAY)
    (crowd,) = crowds(load)
    assert crowd.members == ("a", "b", "c", "d", "odd")
    moves = {one.schedule_id: one.cron for one in stagger(crowd, load, rhythms)}
    assert moves == {"b": "2 6 * * *", "c": "3 6 * * *", "d": "4 6 * * *"}
    moved = {**rhythms, **{name: Rhythm(cron=cron) for name, cron in moves.items()}}
    assert crowds(week(moved, MONDAY)) == []
