"""What a task said is kept, however its process ended; what it has started ends with it."""

from __future__ import annotations

import json
import mmap
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import running_worker
from tests.integration.running import Running
from tests.support import eventually
from workers import loading, registry
from workers.domain.log_bounds import HEAD_LINES, TAIL_LINES
from workers.domain.masking import MASK
from workers.services import jobs, publishing
from workers.services.enqueueing import NewJob
from workers.store import attempts, logs
from workers.yard import Yard

MODULE = "tests.integration.output_tasks"
pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def speaking(yard: Yard) -> Iterator[Yard]:
    """Open a yard on each database whose worker knows the tasks of this test."""
    yield from _opened(yard)


@pytest.fixture
def light(light_yard: Yard) -> Iterator[Yard]:
    """Open it on SQLite alone."""
    yield from _opened(light_yard)


def _opened(yard: Yard) -> Iterator[Yard]:
    loading.load_modules((MODULE,))
    publishing.publish(yard, registry.REGISTRY)
    with running_worker(yard, TASK_MODULES=MODULE):
        yield yard


def run(yard: Yard, task: str, payload: dict[str, Any] | None = None, **options: Any) -> str:
    return jobs.enqueue(yard, NewJob(f"{MODULE}.{task}", payload or {}, **options)).job_id


def job_of(yard: Yard, job_id: str) -> Any:
    with yard.database.read() as connection:
        return jobs.get(connection, job_id)


def ended(yard: Yard, job_id: str, within: float = 90.0) -> Any:
    def is_there() -> None:
        assert job_of(yard, job_id)["status"] in {"completed", "failed", "canceled"}

    eventually(is_there, within=within)
    return job_of(yard, job_id)


def lines(yard: Yard, job_id: str) -> list[str]:
    with yard.database.read() as connection:
        return [row["line"] for row in logs.page(connection, job_id, limit=20_000)]


def numbers(found: list[str]) -> list[int]:
    return [int(line.split()[1]) for line in found if line.startswith("line ")]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("SIGKILL", "was killed by SIGKILL"),
        ("SIGSEGV", "was killed by SIGSEGV"),
        ("SIGABRT", "was killed by SIGABRT"),
        ("exit", "exited with status 3"),
        ("descriptors", "had closed file descriptors"),
    ],
)
def test_everything_that_a_task_said_before_its_process_died_is_kept(speaking: Yard, how: str, words: str) -> None:
    made = run(speaking, "say_and_die", {"how": how})

    job = ended(speaking, made)

    assert job["status"] == "failed"
    assert words in job["error"]
    assert "memory" not in job["error"]
    assert (job["done"], job["total"], job["message"], job["step"]) == (3, 12, "third of twelve", "dying")
    assert job["progress"] == 25.0
    assert sorted(lines(speaking, made)) == sorted(
        [
            "by print",
            "by stderr",
            "by the first stream",
            "by descriptor",
            "by buffer",
            "by a process",
            "by C",
            "some.part: by logging",
            "by log",
            "unfinished in the pipe",
            "unfinished",
        ]
    )


@pytest.mark.parametrize("counts", [[1], [None], [7, None]], ids=str)
@pytest.mark.parametrize("how", ["SIGKILL", "exit"])
def test_progress_without_a_total_is_kept_after_a_death(speaking: Yard, counts: list[float | None], how: str) -> None:
    job = ended(speaking, run(speaking, "report_and_die", {"counts": counts, "how": how}))
    assert job["status"] == "failed"
    assert (job["done"], job["total"], job["message"], job["progress"]) == (counts[-1], None, "so far", 0.0)
    assert ended(speaking, run(speaking, "say_and_die", {"how": how}))["progress"] == 25.0  # the worker is well


def test_secrets_are_masked_in_what_is_kept_after_a_death(speaking: Yard) -> None:
    made = run(speaking, "say_secrets_and_die", {"token": "plain words 4711"})
    job = ended(speaking, made)
    assert sorted(lines(speaking, made)) == [
        f"and unfinished {MASK}",
        f"printed {MASK}",
        f"unfinished {MASK}",
        f"written {MASK}",
    ]
    assert job["message"] == f"reported {MASK}"


@pytest.mark.parametrize("source", ["print", "descriptor"])
@pytest.mark.parametrize("count", [1, 499, 500, 3_000])
def test_no_line_is_lost_or_doubled_when_the_process_kills_itself_in_mid_print(
    speaking: Yard, source: str, count: int
) -> None:
    made = run(speaking, "print_and_die", {"lines": count, "source": source})
    assert ended(speaking, made)["status"] == "failed"
    assert numbers(lines(speaking, made)) == list(range(1, count + 1))


@pytest.mark.parametrize("source", ["print", "descriptor"])
@pytest.mark.parametrize("after", [0.02, 0.25, 1.5])
def test_no_line_is_lost_or_doubled_when_the_process_is_killed_from_outside(
    light: Yard, tmp_path: Path, source: str, after: float
) -> None:
    made = run(light, "count_until_killed", {"folder": str(tmp_path), "source": source})
    eventually(lambda: printed(tmp_path) > 0 or _fail(), within=60)
    time.sleep(after)  # the moment of the kill is arbitrary

    os.kill(child_of(light, made), signal.SIGKILL)

    assert ended(light, made)["status"] == "failed"
    kept = lines(light, made)
    written = printed(tmp_path)
    left_out = sum(left_out_in(line) for line in kept)
    found = numbers(kept)
    assert found == sorted(set(found))
    # The last line may have been printed while its number was not noted yet.
    assert len(found) + left_out in {written, written + 1}
    assert found[-1] in {written, written + 1}


@pytest.mark.parametrize("end", ["cancel", "timeout"])
def test_what_a_task_said_is_kept_when_it_is_killed_by_its_worker(speaking: Yard, tmp_path: Path, end: str) -> None:
    options = {"timeout_seconds": 2.0} if end == "timeout" else {}
    made = run(speaking, "count_until_killed", {"folder": str(tmp_path), "source": "print"}, **options)
    eventually(lambda: printed(tmp_path) > 0 or _fail(), within=60)
    if end == "cancel":
        jobs.cancel(speaking, made, _actor())

    job = ended(speaking, made)

    assert job["status"] == ("canceled" if end == "cancel" else "failed")
    assert numbers(lines(speaking, made))[-1] >= printed(tmp_path)


def test_lines_of_several_threads_are_each_kept_once(speaking: Yard) -> None:
    made = run(speaking, "speak_from_threads", {"count": 200})
    ended(speaking, made)
    wanted = [f"thread {thread} line {number}" for thread in range(4) for number in range(200)]
    assert sorted(lines(speaking, made)) == sorted(wanted)


def test_lines_of_forked_processes_are_each_kept_once(speaking: Yard) -> None:
    made = run(speaking, "speak_from_forks", {"count": 100})
    ended(speaking, made)
    wanted = [f"fork {fork} line {number}" for fork in (0, 1, 2, "x") for number in range(100)]
    wanted += [f"forked: logged {fork}" for fork in range(3)]
    assert sorted(lines(speaking, made)) == sorted(wanted)


def test_a_locked_database_loses_no_line_of_a_killed_process(light: Yard, tmp_path: Path) -> None:
    go = tmp_path / "go"
    made = run(light, "print_and_die", {"lines": 700, "source": "print", "path": str(go)})
    eventually(lambda: _is(light, made, "processing"), within=60)
    child = psutil.Process(child_of(light, made))
    with light.database.write():
        go.touch()
        eventually(lambda: _all_gone([child.pid]), within=60)
    ended(light, made)
    assert numbers(lines(light, made)) == list(range(1, 701))


@pytest.mark.parametrize("how", ["print", "descriptor"])
def test_a_flood_keeps_head_and_tail_says_what_is_missing_and_takes_no_memory(speaking: Yard, how: str) -> None:
    megabytes = 20
    made = run(speaking, "flood", {"megabytes": megabytes, "how": how})
    job = ended(speaking, made, within=150)
    assert job["status"] == "completed", job["error"]
    kept = lines(speaking, made)
    assert len(kept) == HEAD_LINES + TAIL_LINES + 1
    assert kept[0] == "the first line"
    assert kept[-1] == "the last line"
    gap = kept[HEAD_LINES]
    assert left_out_in(gap) == megabytes * 10_000 + 2 - HEAD_LINES - TAIL_LINES
    assert int(re.findall(r"\d+", job["result"])[0]) < 40_000


def test_a_line_that_is_rewritten_is_one_line_with_its_last_state(speaking: Yard, tmp_path: Path) -> None:
    go = tmp_path / "go"
    made = run(speaking, "rewrite", {"path": str(go)})
    eventually(lambda: _same(lines(speaking, made), ["before", "load 50%"]), within=60)
    go.touch()
    assert ended(speaking, made)["status"] == "completed"
    assert lines(speaking, made) == ["before", "load 100%", "after"]


@pytest.mark.parametrize("end", ["returns", "killed", "canceled", "timed out"])
@pytest.mark.parametrize("how", ["session", "daemon", "nested"])
def test_processes_that_left_the_session_end_with_the_job(light: Yard, tmp_path: Path, how: str, end: str) -> None:
    folder = tmp_path / "pids"
    folder.mkdir()
    options = {"timeout_seconds": 12.0} if end == "timed out" else {}
    made = run(light, "leave_processes", {"how": how, "end": end, "folder": str(folder)}, **options)
    if end == "canceled":
        eventually(lambda: _same(lines(light, made), ["started"]), within=60)
        jobs.cancel(light, made, _actor())
    ended(light, made)
    assert lines(light, made) == ["started"]
    eventually(lambda: _all_gone([int(name) for name in os.listdir(folder)]), within=60)


def test_processes_that_left_the_session_end_with_a_worker_that_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "pids"
    folder.mkdir()
    running = Running(tmp_path / "yard", TASK_MODULES=MODULE).start().ready()
    try:
        payload = json.dumps({"how": "daemon", "end": "stays", "folder": str(folder)})
        running.enqueue(f"{MODULE}.leave_processes", payload)
        eventually(lambda: _same(len(os.listdir(folder)), 1), within=60)
        for member in psutil.Process(running.part("pool").pid).children():
            member.kill()
        eventually(lambda: _all_gone([int(name) for name in os.listdir(folder)]), within=60)
    finally:
        running.clean_up()


@pytest.fixture
def small_memory() -> Iterator[Path]:
    """Make a control group with 400 MB; skipped where that is not permitted."""
    base = _memory_group()
    folder = base / f"taskyard-test-{os.getpid()}"
    try:
        folder.mkdir()
        limit = folder / ("memory.max" if (folder / "memory.max").exists() else "memory.limit_in_bytes")
        limit.write_text(str(400 * 1_048_576))
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    yield folder
    eventually(folder.rmdir, within=60)


def test_a_job_that_the_kernel_kills_for_want_of_memory_says_so(light_yard: Yard, small_memory: Path) -> None:
    loading.load_modules((MODULE,))
    publishing.publish(light_yard, registry.REGISTRY)
    with running_worker(light_yard, TASK_MODULES=MODULE) as process:
        (small_memory / "cgroup.procs").write_text(str(process.pid))
        made = run(light_yard, "eat", {"megabytes": 2_000})
        job = ended(light_yard, made)
    assert job["status"] == "failed"
    assert re.search(r"was killed by SIGKILL at \d{3} MB, probably out of memory", job["error"]), job["error"]
    assert lines(light_yard, made) == ["hungry"]
    with light_yard.database.read() as connection:
        (attempt,) = attempts.of_job(connection, made)
    assert attempt["peak_memory_bytes"] > 100 * 1_048_576


def printed(folder: Path) -> int:
    with (folder / "printed").open("rb") as file, mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ) as shared:
        return int.from_bytes(shared[:8], "little")


def left_out_in(line: str) -> int:
    found = re.fullmatch(r"… ([\d,]+) lines? left out …", line)
    return int(found[1].replace(",", "")) if found else 0


def child_of(yard: Yard, job_id: str) -> int:
    worker = job_of(yard, job_id)["worker"]
    children = psutil.Process(int(worker.rpartition("-")[2])).children()
    return max(children, key=lambda one: one.cpu_times().user).pid


def _actor() -> Any:
    from workers.domain.actors import Actor

    return Actor("user", "olga", "operator")


def _memory_group() -> Path:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return Path("/sys/fs/cgroup/memory") / path.lstrip("/")
        if controllers == "" and Path("/sys/fs/cgroup/cgroup.controllers").exists():
            return Path("/sys/fs/cgroup") / path.lstrip("/")
    pytest.skip("there are no control groups for memory here")


def _is(yard: Yard, job_id: str, status: str) -> None:
    assert job_of(yard, job_id)["status"] == status


def _same(found: object, wanted: object) -> None:
    assert found == wanted


def _fail() -> None:
    raise AssertionError


def _all_gone(pids: list[int]) -> None:
    assert not [pid for pid in pids if _runs(pid)]


def _runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
