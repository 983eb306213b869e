"""Task modules: imported where they run, one by one; what goes wrong in one is named and stops no other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import running_worker
from tests.integration.echo_server import echo_server
from tests.integration.running import Running
from tests.integration.test_worker_isolation import ended, result
from tests.support import eventually
from workers import loading, registry
from workers.domain.errors import BadInput
from workers.services import jobs, publishing
from workers.services.enqueueing import NewJob, enqueue_many
from workers.settings import Settings
from workers.store import task_modules
from workers.yard import Yard

OPENING = "tests.integration.opening_tasks"
SENT_JOBS = 200


@pytest.fixture
def echo() -> Iterator[str]:
    """Run an HTTP server that answers with the path; its address."""
    with echo_server() as address:
        yield address


@pytest.fixture
def opening(echo: str, postgres: str, valkey: Settings, tmp_path: Path) -> dict[str, str]:
    """Return the environment of a worker whose task module opens connections at import."""
    return {
        "TASK_MODULES": OPENING,
        "ECHO_URL": echo,
        "OWN_DATABASE_URL": f"{postgres}postgres",
        "OWN_REDIS_URL": valkey.effective_redis_url,
        "STOP_MARKS": str(tmp_path / "stopped"),
    }


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Running]:
    """Make a Taskyard that is gone when the test is over."""
    running = Running(tmp_path / "yard")
    yield running
    running.clean_up()


def test_no_worker_reads_the_answer_to_another(start: Running, opening: dict[str, str]) -> None:
    start.environment |= {**opening, "WORKERS": "4"}
    start.start().ready()
    with closing(Yard.open(Settings.from_env(start.environment))) as yard:
        made = enqueue_many(yard, [NewJob(f"{OPENING}.compare", {"number": n}) for n in range(SENT_JOBS)])
        found = [ended(yard, one.job_id, within=60) for one in made]
    assert {row["status"] for row in found} == {"completed"}, {row["error"] for row in found}
    assert {row["result"] for row in found} == {"[]"}
    assert len({row["worker"] for row in found}) > 1, "more than one worker took part"


def test_preload_names_what_an_import_leaves_open(start: Running, opening: dict[str, str]) -> None:
    start.environment |= {**opening, "PRELOAD": "1"}
    start.start().ready()

    def is_named() -> None:
        log = start.log()
        assert f"PRELOAD: importing {OPENING} left open: " in log
        assert f"socket to {opening['ECHO_URL'].removeprefix('http://')}" in log
        assert "thread Thread-" in log

    eventually(is_named, within=60)


def test_hooks_run_once_for_a_worker_and_once_for_each_child(
    light_yard: Yard, opening: dict[str, str], tmp_path: Path
) -> None:
    publish(light_yard, opening)
    with running_worker(light_yard, **opening):
        first = result(light_yard, f"{OPENING}.hooks")
        assert first["hooks"] == ["worker", "child"]
        ended(light_yard, jobs.enqueue(light_yard, NewJob(f"{OPENING}.hang")).job_id)
        second = result(light_yard, f"{OPENING}.hooks")
        assert second["pid"] != first["pid"]
        assert second["hooks"] == ["child"]
    stopped = (tmp_path / "stopped").read_text().split()
    assert str(second["pid"]) in stopped


def publish(yard: Yard, environment: dict[str, str]) -> None:
    """Publish the tasks of the module without importing it here."""

    def hooks() -> None:
        """Stand for the task."""

    def hang() -> None:
        """Stand for the task."""

    definitions = {}
    for function in (hooks, hang):
        function.__module__ = OPENING
        one = registry.define(function, max_retries=0, timeout_seconds=1)
        definitions[one.name] = registry.REGISTRY.pop(one.name)
    publishing.publish(yard, definitions)


BROKEN = {
    "syntax": ("def broken(:\n", "SyntaxError", 1),
    "name": ("import os\n\nundefined_name\n", "NameError", 3),
    "environment": ("import os\nDSN = os.environ['NOT_SET_ANYWHERE']\n", "KeyError: 'NOT_SET_ANYWHERE'", 2),
    "exit": ("import sys\nsys.exit(3)\n", "sys.exit(3)", 2),
    "queue": ("from workers.task import task\n@task(queue='no such queue!')\ndef send(): pass\n", "A queue's name", 2),
    "option": ("from workers.task import task\n@task(colour='red')\ndef send(): pass\n", "unknown option colour", 2),
    "limit": ("from workers.task import task\n@task(timeout_seconds='60')\ndef send(): pass\n", "timeout_seconds", 2),
    "missing": ("import no_such_library\n", "No module named 'no_such_library'", 1),
    "interrupt": ("raise KeyboardInterrupt\n", "KeyboardInterrupt", 1),
    "killed": ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n", "was killed by SIGKILL", None),
    "left": ("import os\nos._exit(0)\n", "ended with status 0", None),
    "named": (
        "class Named(type):\n    __name__ = property(lambda _: 1 / 0)\nclass Odd(Exception, metaclass=Named): pass\nraise Odd\n",
        "Odd",
        4,
    ),
    "liar": ("class Odd(Exception):\n    __class__ = property(lambda _: 1 / 0)\nraise Odd\n", "Odd", 3),
    "hidden": ("class Odd(Exception):\n    def __getattribute__(self, _): 1 / 0\nraise Odd\n", "Odd", 3),
    "late": ("from workers.task import task\n@task\ndef send(): pass\nraise RuntimeError('late')\n", "late", 4),
}
SOUND = "from workers.task import task\n@task(max_retries=0)\ndef send() -> str:\n    return __name__\n"


def test_modules_that_cannot_be_imported_stop_no_other(start: Running, tmp_path: Path) -> None:
    folder = tmp_path / "modules"
    for name, (text, _error, _line) in BROKEN.items():
        (folder / f"broken_{name}").mkdir(parents=True)
        (folder / f"broken_{name}" / "tasks.py").write_text(text)
    for name in ("orders", "billing"):
        (folder / name).mkdir()
        (folder / name / "tasks.py").write_text(SOUND)
    names = [f"broken_{name}.tasks" for name in BROKEN]
    start.environment |= {
        "PYTHONPATH": str(folder),
        "TASK_MODULES": ",".join(["orders.tasks", *names, "billing.tasks"]),
    }
    start.start().ready()
    with closing(Yard.open(Settings.from_env(start.environment))) as yard:
        # Tasks of the same name in two modules are two tasks.
        for name in ("orders", "billing"):
            assert result(yard, f"{name}.tasks.send") == f"{name}.tasks"
        with yard.database.read() as connection:
            rows = {row["name"]: row for row in task_modules.list_modules(connection)}
        for name, (_text, error, line) in BROKEN.items():
            row = rows[f"broken_{name}.tasks"]
            assert error in row["error"]
            if line is not None:
                assert (row["line"], row["file"]) == (line, str(folder / f"broken_{name}" / "tasks.py"))
        with pytest.raises(BadInput, match="There is no task broken_late"):
            jobs.enqueue(yard, NewJob("broken_late.tasks.send"))
    assert start.log().count("is skipped") == len(BROKEN)


def test_an_import_that_does_not_come_back_is_given_up(start: Running, tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text("import time\nwhile True: time.sleep(1)\n")
    start.environment |= {"PYTHONPATH": str(tmp_path), "TASK_MODULES": "endless", "IMPORT_SECONDS": "2"}
    start.start().ready()
    assert "the task module endless is skipped: Its import took longer than IMPORT_SECONDS (2 s)." in start.log()


LATER = {
    "alarm": ("import signal\nsignal.alarm(1)\n", "was killed by SIGALRM"),
    "thread": (
        "import os, threading, time\n"
        "threading.Thread(target=lambda: (time.sleep(0.5), os._exit(9)), daemon=True).start()\n",
        "ended with status 9",
    ),
}


def test_a_module_that_ends_the_process_after_its_import_stops_no_other(start: Running, tmp_path: Path) -> None:
    texts = {"slow": f"import time\ntime.sleep(4)\n{SOUND}", **{name: text for name, (text, _) in LATER.items()}}
    for name, text in texts.items():
        (tmp_path / "modules" / name).mkdir(parents=True)
        (tmp_path / "modules" / name / "later.py").write_text(text)
    names = ",".join(f"{name}.later" for name in ("alarm", "thread", "slow"))
    start.environment |= {"PYTHONPATH": str(tmp_path / "modules"), "TASK_MODULES": names}
    start.start().ready()
    for name, (_, end) in LATER.items():
        assert f"the task module {name}.later is skipped: The process {end} soon after the import." in start.log()
    job_id = start.enqueue("slow.later.send", "{}")
    eventually(lambda: _is(start, job_id, "completed"), within=60)


def _is(start: Running, job_id: str, status: str) -> None:
    assert start.status(job_id) == status


def test_a_task_whose_module_is_gone_is_refused_and_comes_back_with_it(start: Running, tmp_path: Path) -> None:
    module = tmp_path / "passing.py"
    module.write_text(SOUND)
    start.environment |= {"PYTHONPATH": str(tmp_path), "TASK_MODULES": "passing"}
    start.start().ready()
    start.stop()
    module.write_text("raise RuntimeError('not today')\n")
    start.start().ready()
    with closing(Yard.open(Settings.from_env(start.environment))) as yard:
        with pytest.raises(BadInput, match=r"passing.send is unavailable.*RuntimeError: not today"):
            jobs.enqueue(yard, NewJob("passing.send"))
        start.stop()
        start.environment |= {"TASK_MODULES": ""}
        start.start().ready()
    with closing(Yard.open(Settings.from_env(start.environment))) as yard:
        with pytest.raises(BadInput, match=r"passing.send is unavailable: no worker has its module passing any longer"):
            jobs.enqueue(yard, NewJob("passing.send"))
        start.stop()
        module.write_text(SOUND)
        start.environment |= {"TASK_MODULES": "passing"}
        start.start().ready()
    with closing(Yard.open(Settings.from_env(start.environment))) as yard:
        assert json.loads(ended(yard, jobs.enqueue(yard, NewJob("passing.send")).job_id)["result"]) == "passing"


def test_a_job_under_the_former_name_of_its_task_still_runs(light_yard: Yard, tmp_path: Path) -> None:
    """`shop.tasks.send` was called `tasks.send` before its whole path became its name."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "tasks.py").write_text(SOUND)

    def send() -> str:
        """Stand for the task as it was published before."""
        return ""

    send.__module__ = "shop.tasks"
    before = registry.define(send, name="tasks.send", max_retries=0)
    publishing.publish(light_yard, {before.name: registry.REGISTRY.pop(before.name)})
    waiting = jobs.enqueue(light_yard, NewJob("tasks.send")).job_id
    with running_worker(light_yard, TASK_MODULES="shop.tasks", PYTHONPATH=str(tmp_path)):
        row = ended(light_yard, waiting)
    assert (row["status"], json.loads(row["result"])) == ("completed", "shop.tasks")


def test_the_modules_of_other_hosts_stay_while_they_have_a_worker(yard: Yard) -> None:
    from datetime import timedelta

    from workers.domain.clock import utcnow
    from workers.domain.modules import ImportedModule
    from workers.store import workers as worker_rows

    now = utcnow()
    row = {"tasks": "[]", "error": None, "file": None, "line": None, "seconds": 0.1}
    old = now - timedelta(hours=2)
    with yard.database.write() as connection:
        for host in ("alive", "gone"):
            task_modules.put_modules(connection, [{**row, "host": host, "name": "m", "imported_at": old}])
        beat = {"name": "w", "host": "alive", "pid": 1, "queues": "[]", "state": "idle", "started_at": old}
        worker_rows.register(connection, {**beat, "heartbeat_at": now})
    publishing.publish(yard, registry.REGISTRY, [ImportedModule("n")], drop_others=True)
    with yard.database.read() as connection:
        hosts = {one["host"] for one in task_modules.list_modules(connection)}
    assert "alive" in hosts
    assert "gone" not in hosts


def test_what_is_imported_again_is_written_only_when_it_differs(light_yard: Yard) -> None:
    modules = loading.load_modules(())
    assert publishing.publish(light_yard, registry.REGISTRY, modules, unless_known=True) == 0
