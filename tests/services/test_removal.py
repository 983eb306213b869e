"""Purges and deletions: work of many jobs is a bulk action, and files go with the jobs that they belong to."""

from __future__ import annotations

import os
import secrets
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from workers.domain.actors import Actor
from workers.domain.clock import utcnow
from workers.domain.filters import JobFilter
from workers.domain.ids import new_id
from workers.services import bulk_actions, execution, file_trees, files, jobs, queues, removal, retention, schedules
from workers.services.enqueueing import NewJob, enqueue, enqueue_many
from workers.services.execution import Ending
from workers.store import file_removals
from workers.store.jobs import JOBS
from workers.yard import Yard

ACTS = ["delete", "bulk", "retention"]


def upload(yard: Yard, age_days: float = 0) -> str:
    """Leave an uploaded file; the name by which payloads call it."""
    name = f"{secrets.token_hex(6)}-data.csv"
    files.write_file(yard.settings.uploads_dir, name, b"x")
    at = utcnow().timestamp() - age_days * 86_400
    os.utime(yard.settings.uploads_dir / name, (at, at))
    return f"upload:{name}"


def path_of(yard: Yard, source: str) -> Path:
    """Name the file behind an upload."""
    return yard.settings.uploads_dir / source.removeprefix("upload:")


def job_naming(yard: Yard, source: str, **options: object) -> str:
    """Make a job that names an upload."""
    return enqueue(yard, NewJob("datasets.process", {"source": source}, **options)).job_id  # type: ignore[arg-type]


def end(yard: Yard, job_id: str) -> None:
    """Run a job to its failure."""
    execution.begin(yard, job_id, 1, "w")
    assert execution.end(yard, job_id, 1, Ending("failed", error="boom", permanent=True)) is not None


def remove(yard: Yard, act: str, job_id: str, actor: Actor) -> None:
    """Delete an ended job by one of the ways."""
    if act == "delete":
        jobs.delete(yard, job_id, actor)
    elif act == "bulk":
        with yard.database.read() as connection:
            task = jobs.get(connection, job_id)["task"]
        action = bulk_actions.create(yard, "delete", JobFilter(task=(task,)), None, actor)
        bulk_actions.work(yard, action["id"], lambda done, total: None)
    else:
        assert retention.purge_step(yard, utcnow() + timedelta(days=40)) == 1


@pytest.mark.parametrize("act", ACTS)
def test_the_files_of_a_job_go_with_it(yard: Yard, operator: Actor, act: str) -> None:
    job_id = enqueue(yard, NewJob("samples.noop")).job_id
    folder = files.make_folder(yard.settings.files_dir, job_id)
    (folder / "report.json").write_text("{}")
    end(yard, job_id)
    remove(yard, act, job_id, operator)
    assert not folder.exists()
    with yard.database.read() as connection:
        assert file_removals.first(connection, 10) == []


@pytest.mark.parametrize("act", ACTS)
def test_an_upload_goes_with_its_last_job(yard: Yard, operator: Actor, act: str) -> None:
    source = upload(yard)
    first, last = job_naming(yard, source), job_naming(yard, source)
    for one in (first, last):
        end(yard, one)
    jobs.delete(yard, first, operator)
    assert path_of(yard, source).exists()
    remove(yard, act, last, operator)
    assert not path_of(yard, source).exists()


def test_an_upload_that_an_edited_job_names_stays(yard: Yard, operator: Actor) -> None:
    first, second = upload(yard), upload(yard)
    job_id, other = job_naming(yard, first), job_naming(yard, second)
    end(yard, job_id)
    jobs.retry(yard, job_id, operator, {"source": second})
    jobs.cancel(yard, other, operator)
    jobs.delete(yard, other, operator)
    assert path_of(yard, second).exists()


def test_an_upload_that_a_schedule_names_stays(yard: Yard, operator: Actor) -> None:
    source = upload(yard, age_days=100)
    job_id = job_naming(yard, source)
    made = {"name": "weekly", "task": "datasets.process", "cron": "0 2 * * 0", "payload": {"source": source}}
    schedules.create(yard, made, operator)
    end(yard, job_id)
    jobs.delete(yard, job_id, operator)
    removal.expire_uploads(yard, utcnow())
    assert path_of(yard, source).exists()


@pytest.mark.parametrize(
    ("age_days", "status", "stays"),
    [(29, "failed", True), (31, "failed", False), (31, "pending", True), (31, "scheduled", True), (31, None, False)],
    ids=["young", "old", "old-but-waiting", "old-but-scheduled", "old-without-a-job"],
)
def test_old_uploads_are_deleted_unless_something_waits_for_them(
    yard: Yard, age_days: float, status: str | None, stays: bool
) -> None:
    source = upload(yard, age_days)
    if status is not None:
        job_id = job_naming(yard, source, delay_seconds=600 if status == "scheduled" else None)
        if status == "failed":
            end(yard, job_id)
    assert removal.expire_uploads(yard, utcnow()) == (0 if stays else 1)
    assert path_of(yard, source).exists() is stays


def test_only_uploads_expire(yard: Yard) -> None:
    folder = yard.settings.uploads_dir
    for name in ("note.txt", ".incoming-1", "0123456789ab-x y"):
        files.write_file(folder, name, b"x")
        os.utime(folder / name, (0, 0))
    elsewhere = yard.settings.data_dir / "elsewhere"
    elsewhere.write_text("kept")
    (folder / "0123456789ab-link").symlink_to(elsewhere)
    os.utime(folder / "0123456789ab-link", (0, 0), follow_symlinks=False)
    assert removal.expire_uploads(yard, utcnow()) == 1
    assert elsewhere.read_text() == "kept"
    assert {one.name for one in folder.iterdir()} == {"note.txt", ".incoming-1", "0123456789ab-x y"}


def test_files_that_a_killed_process_left_are_deleted_later(yard: Yard) -> None:
    job_id = enqueue(yard, NewJob("samples.noop")).job_id
    folder = files.make_folder(yard.settings.files_dir, job_id)
    with yard.database.write() as connection:
        removal.remove_rows(yard, connection, [job_id])
    assert folder.exists()
    assert removal.remove_leftovers(yard, utcnow()) == 1
    assert not folder.exists()
    assert removal.remove_leftovers(yard, utcnow()) == 0


def test_a_deletion_that_is_rolled_back_keeps_the_files(yard: Yard) -> None:
    job_id = enqueue(yard, NewJob("samples.noop")).job_id
    folder = files.make_folder(yard.settings.files_dir, job_id)

    def remove_and_fail() -> None:
        with yard.database.write() as connection:
            removal.remove_rows(yard, connection, [job_id])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        remove_and_fail()
    removal.remove_leftovers(yard, utcnow())
    assert folder.exists()


@pytest.mark.parametrize("shape", ["deep", "wide", "link", "link-inside", "locked", "file"])
def test_a_folder_of_any_shape_is_deleted_and_nothing_beside_it(tmp_path: Path, shape: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("kept")
    folder = tmp_path / new_id()
    if shape == "link":
        folder.symlink_to(elsewhere)
    elif shape == "file":
        folder.write_text("x")
    else:
        folder.mkdir()
        fill(folder, shape, elsewhere)
    assert file_trees.remove_tree(folder)
    assert not os.path.lexists(folder)
    assert (elsewhere / "kept").read_text() == "kept"


def fill(folder: Path, shape: str, elsewhere: Path) -> None:
    """Put into a folder what is hard to delete."""
    if shape == "link-inside":
        (folder / "inner").symlink_to(elsewhere)
    elif shape == "locked":
        (folder / "inner" / "inner").mkdir(parents=True)
        (folder / "inner" / "x").write_text("x")
        (folder / "inner" / "inner").chmod(0)
        (folder / "inner").chmod(0)
        folder.chmod(0)
    elif shape == "wide":
        for n in range(300):
            (folder / str(n) / "x").mkdir(parents=True)
    else:
        place = os.open(folder, os.O_RDONLY)
        for _ in range(2000):  # deeper than the stack, and than any path can name
            os.mkdir("d", dir_fd=place)
            deeper = os.open("d", os.O_RDONLY, dir_fd=place)
            os.close(place)
            place = deeper
        os.close(place)


def test_a_purge_is_a_bulk_action_that_cancels_what_waits_and_nothing_else(yard: Yard, operator: Actor) -> None:
    made = [one.job_id for one in enqueue_many(yard, [NewJob("samples.noop")] * 30)]
    later = enqueue(yard, NewJob("samples.noop", delay_seconds=600)).job_id
    other = enqueue(yard, NewJob("samples.noop", queue="other")).job_id
    execution.begin(yard, made[0], 1, "w")
    action = queues.purge(yard, "default", operator)
    assert (action["action"], action["status"], action["total"]) == ("cancel", "pending", 29)
    assert bulk_actions.work(yard, action["id"], lambda done, total: None) == {"done": 29, "refused": 0}
    with yard.database.read() as connection:
        statuses = {row.id: row.status for row in connection.execute(select(JOBS.c.id, JOBS.c.status))}
    assert {statuses[one] for one in made[1:]} == {"canceled"}
    assert (statuses[made[0]], statuses[later], statuses[other]) == ("processing", "scheduled", "pending")


def test_a_bulk_action_never_stands_without_its_job(yard: Yard, operator: Actor) -> None:
    enqueue(yard, NewJob("samples.noop"))
    action = queues.purge(yard, "default", operator)
    with yard.database.read() as connection:
        job = jobs.get(connection, action["job_id"])
    assert (job["task"], job["queue"], job["status"]) == ("system.bulk_action", "system-bulk", "pending")


def test_two_that_work_one_action_take_turns(yard: Yard, operator: Actor) -> None:
    enqueue_many(yard, [NewJob("samples.noop")] * 60)
    wanted = JobFilter(task=("samples.noop",))
    action = bulk_actions.create(yard, "cancel", wanted, 7.0, operator)
    faults: list[BaseException] = []

    def work() -> None:
        try:
            while bulk_actions.step(yard, action["id"])["status"] in ("pending", "processing"):
                pass
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert faults == []
    with yard.database.read() as connection:
        row = bulk_actions.get(connection, action["id"])
    assert (row["status"], row["done"], row["refused"]) == ("completed", 60, 0)
