"""Ages that a clock shows are evidence only for the time in which it ran evenly: every offset, jump and age."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from workers.domain import clock
from workers.domain.clock import utcnow
from workers.domain.evenness import Clocks, Reading

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
JUMPS = [-10 * 365 * 86400, -86400, -3600, -90, -3, 3, 90, 3600, 86400, 10 * 365 * 86400]


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


@pytest.mark.parametrize("jump", JUMPS)
@pytest.mark.parametrize("passed", [0.0, 1.0, 60.0, 86400.0])
def test_a_jump_is_found_whatever_time_has_passed(jump: float, passed: float) -> None:
    earlier = Reading("m", NOON, 1000.0)
    present = Reading("m", after(passed + jump), 1000.0 + passed)
    assert present.jump_since(earlier) == pytest.approx(jump)


@pytest.mark.parametrize("passed", [0.0, 1.0, 60.0, 86400.0])
@pytest.mark.parametrize("adjustment", [-1.9, 0.0, 1.9])
def test_passing_time_and_small_adjustments_are_no_jump(passed: float, adjustment: float) -> None:
    earlier = Reading("m", NOON, 1000.0)
    assert Reading("m", after(passed + adjustment), 1000.0 + passed).jump_since(earlier) == 0.0


@pytest.mark.parametrize(
    "present",
    [
        pytest.param(Reading("other", after(3600), 1001.0), id="another machine"),
        pytest.param(Reading("m", after(3600), 10.0), id="an earlier reading"),
    ],
)
def test_readings_that_cannot_be_compared_show_no_jump(present: Reading) -> None:
    assert present.jump_since(Reading("m", NOON, 1000.0)) == 0.0


@pytest.mark.parametrize("jump", JUMPS)
@pytest.mark.parametrize("silent", [0.0, 5.0, 40.0])
@pytest.mark.parametrize("later", [0.0, 20.0, 300.0])
def test_after_a_jump_silence_counts_from_the_jump_and_never_less_than_that(
    jump: float, silent: float, later: float
) -> None:
    found_at = after(jump)
    ahead = {"ahead_until": NOON, "ahead_seen_at": found_at} if jump < 0 else {}
    clocks = Clocks(found_at + timedelta(seconds=later), **ahead).disturbed_at(found_at, "clock", jump)
    age = clocks.age_seconds(after(-silent))
    # After a clock that was set back, the time that it repeats may be missing; more than has passed is never counted.
    assert max(0.0, later + min(jump, 0)) - 0.01 <= age <= later + 0.01


@pytest.mark.parametrize("ahead", [90.0, 3600.0, 10 * 365 * 86400.0])
def test_a_writer_that_is_ahead_lives_as_long_as_it_writes_and_not_longer(ahead: float) -> None:
    written_at = after(ahead)
    first = Clocks(NOON)
    assert first.age_seconds(written_at) == 0.0
    unchanged = Clocks(after(60), ahead_until=written_at, ahead_seen_at=NOON)
    assert unchanged.age_seconds(written_at) == min(60.0, 60.0 if unchanged.is_ahead(written_at) else 0.0)
    assert unchanged.age_seconds(written_at + timedelta(seconds=60)) == 0.0


@pytest.mark.parametrize("offset", [-3600.0, -90.0, 0.0, 0.9, 90.0, 3600.0])
def test_a_process_follows_the_clock_of_the_database(offset: float) -> None:
    clock.follow(offset)
    expected = offset if abs(offset) > clock.TOLERANCE_SECONDS else 0.0
    ahead = (utcnow() - datetime.now(UTC)).total_seconds()
    assert ahead == pytest.approx(expected, abs=5)
    assert clock.followed_offset() == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("set_by", [-3600.0, -90.0, 0.5, 90.0, 3600.0])
def test_a_host_clock_that_was_set_since_the_measurement_is_undone(set_by: float) -> None:
    corrected = clock.Correction(offset_seconds=5.0, host_epoch=clock._host_epoch() - set_by)
    expected = 5.0 - set_by if abs(set_by) > clock.TOLERANCE_SECONDS else 5.0
    assert corrected.seconds_now() == pytest.approx(expected, abs=0.1)
