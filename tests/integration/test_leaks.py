"""A job leaves nothing behind: the next one in the same worker finds the process as if it were the first."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import open_yard, running_worker, settings_of
from tests.integration.leaking_jobs import LEAKS
from tests.integration.test_worker_isolation import ended, lines, result
from workers import loading, registry
from workers.services import jobs, publishing
from workers.services.enqueueing import NewJob
from workers.settings import Settings
from workers.yard import Yard

MODULE = "tests.integration.leaking_jobs"


@pytest.fixture(scope="module")
def leaking(valkey: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    """Open a yard whose one worker runs the leaking tasks, for all tests of this file."""
    folder = tmp_path_factory.mktemp("leaks")
    yard = open_yard(settings_of(valkey, folder, f"sqlite:///{folder / 'taskyard.db'}"))
    loading.load_modules((MODULE,))
    publishing.publish(yard, registry.REGISTRY)
    with running_worker(yard, TASK_MODULES=MODULE):
        yield yard
    yard.close()


@pytest.mark.parametrize("what", LEAKS)
def test_the_next_job_finds_nothing_of_what_a_job_changed(leaking: Yard, what: str) -> None:
    before = result(leaking, f"{MODULE}.describe")
    result(leaking, f"{MODULE}.leak", {"what": what})
    assert result(leaking, f"{MODULE}.describe") == before


def test_a_seed_does_not_make_the_numbers_of_the_next_job_known(leaking: Yard) -> None:
    numbers = {result(leaking, f"{MODULE}.random_number") for _ in range(4)}
    assert len(numbers) == 4


def test_a_warning_is_shown_once_for_each_job(leaking: Yard) -> None:
    for _ in range(2):
        job_id = jobs.enqueue(leaking, NewJob(f"{MODULE}.warn")).job_id
        ended(leaking, job_id)
        assert sum("UserWarning: this is old" in line for line in lines(leaking, job_id)) == 1
