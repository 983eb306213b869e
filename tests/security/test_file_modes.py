"""Modes of files: whatever Taskyard writes is private, also in a folder that is open to others."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.running import Running
from tests.support import eventually
from workers.processes import home
from workers.services import private_files
from workers.settings import Settings
from workers.store.database import Database
from workers.yard import Yard

pytestmark = pytest.mark.timeout(120)
EXPECTED = {"taskyard.db", "taskyard.db-wal", "taskyard.db-shm", "lock", "secret_key", "valkey.log"}


@pytest.fixture
def open_umask() -> Iterator[None]:
    """Let this process make files that everybody reads, as a careless shell does."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def running(tmp_path: Path, open_umask: None) -> Iterator[Running]:
    """Prepare a Taskyard whose DATA_DIR is there already and is open."""
    data_dir = tmp_path / "yard"
    data_dir.mkdir(mode=0o755)
    one = Running(data_dir)
    yield one
    one.clean_up()


def work(running: Running) -> None:
    (running.data_dir / "inbox" / "t.csv").write_text("a\n1\n")
    made = [running.enqueue("datasets.process", '{"source": "t.csv"}')]
    made.append(running.enqueue("email.send", '{"to": "a@example.com", "subject": "s", "body": "b"}'))

    def have_ended() -> None:
        assert {running.status(job_id) for job_id in made} == {"completed"}

    eventually(have_ended, within=30, every=0.3)


def open_files(root: Path) -> dict[str, str]:
    """Find what others may use below a folder, without what people put into the inbox."""
    found = [Path(folder, name) for folder, inner, names in os.walk(root) for name in (*inner, *names)]
    modes = {path.relative_to(root).as_posix(): os.lstat(path).st_mode for path in found}
    return {
        name: stat.filemode(mode)
        for name, mode in modes.items()
        if mode & 0o077 and not stat.S_ISLNK(mode) and name != "inbox/t.csv"
    }


def test_every_file_in_an_open_folder_is_private(running: Running) -> None:
    running.start().ready()
    work(running)
    names = {path.name for path in running.data_dir.rglob("*")}
    assert names >= EXPECTED | {"report.json", "report.html"}
    assert any(name.endswith(".eml") for name in names)
    assert open_files(running.data_dir) == {}


def test_files_that_were_open_are_private_after_the_next_start(running: Running) -> None:
    running.start().ready()
    work(running)
    running.stop()
    for path in running.data_dir.rglob("*"):
        path.chmod(0o777 if path.is_dir() else 0o666)
    running.start().ready()
    assert (running.data_dir / "inbox" / "t.csv").stat().st_mode & 0o777 == 0o666
    assert {name: mode for name, mode in open_files(running.data_dir).items() if name != "inbox"} == {}


def test_commands_leave_the_database_private(running: Running) -> None:
    running.start("migrate")
    assert running.process is not None
    assert running.process.wait(60) == 0, running.log()
    running.enqueue("samples.noop")
    assert open_files(running.data_dir) == {}


def test_a_database_elsewhere_is_private_too(tmp_path: Path, open_umask: None) -> None:
    path = tmp_path / "other.db"
    database = Database.open(f"sqlite:///{path}")
    with database.write() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x)")
    modes = {one.name: one.stat().st_mode & 0o777 for one in tmp_path.glob("other.db*")}
    database.close()
    assert modes == {"other.db": 0o600, "other.db-wal": 0o600, "other.db-shm": 0o600}


def test_a_folder_is_tightened_without_following_links(tmp_path: Path, open_umask: None) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o755)
    (outside / "shared.txt").write_text("x")
    settings = home.settle(Settings.from_env({"DATA_DIR": str(tmp_path / "data")}))
    (settings.files_dir / "link").symlink_to(outside)
    (settings.files_dir / "link.txt").symlink_to(outside / "shared.txt")
    private_files.tighten_trees(settings)
    assert outside.stat().st_mode & 0o777 == 0o755
    assert (outside / "shared.txt").stat().st_mode & 0o777 == 0o666


def test_a_file_is_created_private_whatever_the_umask(tmp_path: Path, open_umask: None) -> None:
    from io import BytesIO

    from dashboard import uploads
    from workers.services import files

    settings = home.settle(Settings.from_env({"DATA_DIR": str(tmp_path / "data")}))
    uploads.save(settings, BytesIO(b"x"), "t.csv")
    files.write_file(files.make_folder(settings.files_dir, "job"), "report.json", b"{}")
    assert open_files(settings.data_dir) == {}


def test_a_database_that_is_in_use_keeps_its_locks_when_it_is_made_private(light_yard: Yard) -> None:
    path = light_yard.settings.sqlite_file
    assert path is not None
    log = path.with_name(f"{path.name}-wal")
    with light_yard.database.read() as connection:
        connection.exec_driver_sql("SELECT 1 FROM jobs").all()
    before = log.stat().st_ino
    path.chmod(0o644)
    private_files.tighten_own_files(light_yard.settings)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    code = "import sqlite3, sys; one = sqlite3.connect(sys.argv[1]); one.execute('SELECT 1 FROM jobs'); one.close()"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)  # the last one to leave removes the log
    assert log.stat().st_ino == before
