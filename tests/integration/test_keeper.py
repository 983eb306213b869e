"""Keeping children: back-off, restarts, stages of a stop, and who may not be started again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from workers.processes.backoff import Backoff
from workers.processes.crew import Crew, Member
from workers.processes.keeper import CANNOT_WORK, Keeper, Kept, words
from workers.processes.kin import fork


def test_waits_double_up_to_half_a_minute_and_a_good_minute_starts_anew() -> None:
    backoff = Backoff()
    assert [backoff.after(1) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    assert backoff.after(60) == 1
    assert backoff.after(59) == 2


def test_waits_have_the_bound_they_are_given() -> None:
    backoff = Backoff(first_seconds=0.5, longest_seconds=2)
    assert [backoff.after(0) for _ in range(4)] == [0.5, 1, 2, 2]
    backoff.reset()
    assert backoff.after(0) == 0.5


@pytest.mark.parametrize(
    ("end", "said"), [(lambda: os._exit(3), "status 3"), (lambda: os.kill(os.getpid(), signal.SIGKILL), "SIGKILL")]
)
def test_words_say_how_a_process_ended(end: Callable[[], None], said: str) -> None:
    def body() -> int:
        end()
        return 0

    _, status = os.waitpid(fork(body), 0)
    assert said in words(status)


def test_a_forked_child_ends_with_what_its_body_returns() -> None:
    _, status = os.waitpid(fork(lambda: 7), 0)
    assert os.waitstatus_to_exitcode(status) == 7


def test_a_child_that_raises_ends_with_70_and_says_why(capfd: pytest.CaptureFixture[str]) -> None:
    def body() -> int:
        raise RuntimeError("on purpose")

    _, status = os.waitpid(fork(body), 0)
    assert os.waitstatus_to_exitcode(status) == 70
    assert "on purpose" in capfd.readouterr().err


def _sleeper() -> int:
    time.sleep(60)
    return 0


def _step_until(keeper: Keeper, holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < until
        keeper.step(0.05)


def test_a_child_that_dies_is_started_again_after_its_wait() -> None:
    starts: list[float] = []

    def start() -> int:
        starts.append(time.monotonic())
        return fork(lambda: 1)

    keeper = Keeper([Kept("short-lived", start, backoff=Backoff(first_seconds=0.2))])
    _step_until(keeper, lambda: len(starts) == 3)
    assert starts[1] - starts[0] >= 0.2
    assert starts[2] - starts[1] >= 0.4
    keeper.request_stop()
    assert keeper.run() == 0
    keeper.close()


def test_a_child_that_cannot_work_ends_the_whole() -> None:
    starts: list[int] = []

    def start() -> int:
        starts.append(1)
        return fork(lambda: CANNOT_WORK)

    keeper = Keeper([Kept("hopeless", start), Kept("other", lambda: fork(_sleeper))])
    assert keeper.run() == CANNOT_WORK
    assert starts == [1]
    assert all(child.pid == 0 for child in keeper.children)
    keeper.close()


def test_the_lowest_stage_is_gone_before_the_next_is_asked(tmp_path: Path) -> None:
    ends = tmp_path / "ends"
    ends.touch()
    ready = tmp_path / "ready"
    ready.mkdir()

    def child(name: str, seconds: float) -> Callable[[], int]:
        def body() -> int:
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
            (ready / name).touch()
            signal.sigwait([signal.SIGTERM])
            time.sleep(seconds)
            with ends.open("a") as file:
                file.write(f"{name}\n")
            return 0

        return lambda: fork(body)

    keeper = Keeper([Kept("last", child("last", 0), 2), Kept("first", child("first", 0.3), 1)])
    _step_until(keeper, lambda: len(list(ready.iterdir())) == 2)
    keeper.request_stop()
    assert keeper.run() == 0
    assert ends.read_text().split() == ["first", "last"]
    keeper.close()


def test_a_child_that_does_not_obey_is_killed(tmp_path: Path) -> None:
    deaf = tmp_path / "deaf"

    def body() -> int:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        deaf.touch()
        return _sleeper()

    keeper = Keeper([Kept("deaf", lambda: fork(body), grace_seconds=0.1)])
    _step_until(keeper, deaf.exists)
    keeper.request_stop()
    began = time.monotonic()
    keeper.run()
    assert keeper.children[0].pid == 0
    assert time.monotonic() - began < 6
    keeper.close()


def test_a_child_that_retires_is_not_started_again() -> None:
    starts: list[str] = []

    def start() -> int:
        starts.append("started")
        return fork(_sleeper)

    retired, stays = Kept("retired", start), Kept("stays", lambda: fork(_sleeper))
    keeper = Keeper([retired, stays])
    _step_until(keeper, lambda: bool(retired.pid and stays.pid))
    keeper.retire(retired)
    _step_until(keeper, lambda: keeper.children == [stays])
    assert starts == ["started"]
    keeper.request_stop()
    keeper.run()


def test_a_crew_grows_and_shrinks_by_its_highest_numbers() -> None:
    keeper = Keeper([])
    crew = Crew(lambda number: Member(f"worker-{number}", _sleeper))
    crew.join(keeper, lambda member: Kept(member.label, lambda: fork(member.run)), 2)

    def labels() -> list[str]:
        return [child.label for child in keeper.children if child.pid]

    _step_until(keeper, lambda: labels() == ["worker-1", "worker-2"])
    crew.tell(3)
    _step_until(keeper, lambda: labels() == ["worker-1", "worker-2", "worker-3"])
    crew.tell(2)
    crew.tell(1)
    _step_until(keeper, lambda: labels() == ["worker-1"])
    keeper.request_stop()
    keeper.run()
