"""Files that a user or a job names: every file of a real DATA_DIR, every kind of file, every spelling, and races."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from flask import Flask
from playwright.sync_api import Page

from tests.conftest import Auth
from tests.integration.running import Running
from tests.people import PASSWORD
from tests.support import eventually
from workers.domain.errors import SettingsError, TaskyardError
from workers.domain.ids import new_id
from workers.processes import home
from workers.services import files, jobs, retention
from workers.services.enqueueing import NewJob
from workers.settings import Settings
from workers.task import Reject
from workers.tasks import _sources, datasets
from workers.yard import Yard

pytestmark = pytest.mark.timeout(120)
SECRET = "0123456789abcdef-this-is-the-secret"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
WRITTEN = ("taskyard.db", "taskyard.db-wal", "taskyard.db-shm", "lock", "secret_key")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Run a whole Taskyard that has done a little of everything, so that its folder holds what it holds in use."""
    one = Running(tmp_path_factory.mktemp("files") / "yard").start().ready()
    (one.data_dir / "inbox" / "good.csv").write_text("a,b\n1,2\n")
    (one.data_dir / "uploads" / "good.csv").write_text("a,b\n1,2\n")
    made = [one.enqueue("datasets.process", '{"source": "good.csv"}')]
    made.append(one.enqueue("email.send", '{"to": "a@example.com", "subject": "s", "body": "b"}'))
    made.append(one.enqueue("email.flush_outbox"))
    for job_id in made:
        eventually(lambda job_id=job_id: _has_ended(one, job_id), within=30, every=0.3)
    yield one
    one.clean_up()


def _has_ended(running: Running, job_id: str) -> None:
    assert running.status(job_id) in {"completed", "failed"}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settle in an empty folder that holds a secret beside the inbox."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    settled = home.settle(Settings.from_env({"DATA_DIR": str(tmp_path / "data")}))
    (settled.data_dir / "private.csv").write_text(SECRET)
    return settled


# What a job may read.


def test_no_file_of_a_real_data_dir_can_be_read_by_its_name(running: Running) -> None:
    root = running.data_dir
    settings = Settings.from_env({"DATA_DIR": str(root)})
    found = [Path(folder, name).relative_to(root) for folder, _, names in os.walk(root) for name in names]
    private = [path for path in found if path.parts[0] not in {"inbox", "uploads"}]
    assert {path.as_posix() for path in private} >= set(WRITTEN)
    assert {path.parts[0] for path in private} >= {"valkey", "run", "files", "mail"}
    for path in private:
        for source in _spellings(root, path):
            with pytest.raises(files.FileRefused):
                files.open_source(settings, source)


def test_no_file_of_a_real_data_dir_can_be_read_through_a_link_in_the_inbox(running: Running) -> None:
    root = running.data_dir
    settings = Settings.from_env({"DATA_DIR": str(root)})
    found = [Path(folder, name) for folder, _, names in os.walk(root) for name in names]
    link = root / "inbox" / "link.csv"
    for path in [path for path in found if path.parent != root / "inbox"]:
        for target in (str(path), os.path.relpath(path, link.parent)):
            link.symlink_to(target)
            with pytest.raises(TaskyardError):
                files.open_source(settings, link.name)
            link.unlink()


def _spellings(root: Path, path: Path) -> list[str]:
    relative, name = path.as_posix(), path.name
    return [
        relative,
        str(root / path),
        f"../{relative}",
        f"./../{relative}",
        f"x/../../{relative}",
        f"inbox:../{relative}",
        f"inbox:{root / path}",
        f"inbox:{relative}",
        f"upload:../{relative}",
        f"upload:{root / path}",
        f"upload:{relative}",
        f"upload:..%2f{relative}",
        f"file://{root / path}",
        f"//{root / path}",
        f"..\\{name}",
    ]


@pytest.mark.parametrize(
    "source",
    ["secret_key", "taskyard.db", "taskyard.db-wal", "lock", "valkey/valkey.log", "/proc/self/environ", "/dev/zero", "../secret_key"],
)  # fmt: skip
def test_a_job_that_names_a_private_file_fails_and_leaves_nothing(running: Running, source: str) -> None:
    headers = {"Authorization": f"Bearer {_token(running)}"}
    with httpx.Client(base_url=running.address, headers=headers, trust_env=False) as client:
        made = client.post("/api/v1/jobs", json={"task": "datasets.process", "payload": {"source": source}})
        job_id = made.json()["job_id"]
        job: dict[str, Any] = {}

        def has_ended() -> None:
            job.update(client.get(f"/api/v1/jobs/{job_id}").json())
            assert job["status"] in {"failed", "completed", "retry_scheduled"}

        eventually(has_ended, within=30)
        assert (job["status"], job["result"]) == ("failed", None)
        assert "inbox" in job["error"]
        assert not (running.data_dir / "files" / job_id).exists()
        for name in ("report.json", "report.html", ".download"):
            assert client.get(f"/jobs/{job_id}/files/{name}").status_code == 404


def _token(running: Running) -> str:
    return running.run("tokens", "create", f"operator {new_id()}", "--role", "operator").stdout.strip()


def test_a_file_in_the_inbox_is_read_by_each_of_its_names(settings: Settings) -> None:
    (settings.inbox_dir / "deep").mkdir()
    (settings.inbox_dir / "deep" / "t.csv").write_text("a\n1\n")
    (settings.inbox_dir / "inner.csv").symlink_to("deep/t.csv")
    for source in ("deep/t.csv", "inbox:deep/t.csv", "./deep//t.csv", "inner.csv"):
        assert datasets.process(source)["records"] == 1


def test_an_upload_is_read_by_its_name(settings: Settings) -> None:
    (settings.uploads_dir / "0a-t.csv").write_text("a\n1\n")
    assert datasets.process("upload:0a-t.csv")["records"] == 1


Maker = Callable[[Settings, Path], object]


def _socket(path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="ty-", dir="/tmp") as short, socket.socket(socket.AF_UNIX) as one:
        one.bind(f"{short}/s")
        os.rename(f"{short}/s", path)


def _chain(path: Path, target: Path) -> None:
    for number in range(3):
        path.with_name(f"chain-{number}").symlink_to(path.with_name(f"chain-{number + 1}"))
    path.with_name("chain-3").symlink_to(target)
    path.symlink_to("chain-0")


ODD: dict[str, Maker] = {
    "a link to a private file": lambda s, path: path.symlink_to(s.data_dir / "private.csv"),
    "a relative link to a private file": lambda s, path: path.symlink_to("../private.csv"),
    "a chain of links": lambda s, path: _chain(path, s.data_dir / "private.csv"),
    "a link to itself": lambda s, path: path.symlink_to(path.name),
    "a link to the environment": lambda s, path: path.symlink_to("/proc/self/environ"),
    "a link to an open file": lambda s, path: path.symlink_to("/proc/self/fd/0"),
    "a link to a device": lambda s, path: path.symlink_to("/dev/zero"),
    "a link to a folder": lambda s, path: path.symlink_to(s.data_dir),
    "a link to nothing": lambda s, path: path.symlink_to("/nothing"),
    "a hard link": lambda s, path: os.link(s.data_dir / "private.csv", path),
    "a FIFO": lambda s, path: os.mkfifo(path),
    "a socket": lambda s, path: _socket(path),
    "a folder": lambda s, path: path.mkdir(),
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("prefix", ["", "inbox:", "upload:"])
def test_what_is_no_regular_file_of_the_folder_is_refused_at_once(settings: Settings, kind: str, prefix: str) -> None:
    folder = settings.uploads_dir if prefix == "upload:" else settings.inbox_dir
    ODD[kind](settings, folder / "odd.csv")
    with pytest.raises(Reject) as refusal:
        datasets.process(f"{prefix}odd.csv")
    assert SECRET not in str(refusal.value)


@pytest.mark.parametrize("prefix", ["", "inbox:"])
def test_a_link_in_the_middle_of_a_path_does_not_lead_out(settings: Settings, prefix: str) -> None:
    (settings.inbox_dir / "middle").symlink_to(settings.data_dir)
    with pytest.raises(Reject, match="is outside"):
        datasets.process(f"{prefix}middle/private.csv")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make devices")
def test_a_device_in_the_inbox_is_refused(settings: Settings) -> None:
    try:
        os.mknod(settings.inbox_dir / "zero", 0o20600, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("this machine lets nobody make devices")
    with pytest.raises(Reject, match="not a regular file"):
        datasets.process("zero")


@pytest.mark.parametrize("source", ["a\0b", "\ud800", "x" * 300, "a/" * 900 + "b", ".", "..", "./.", "inbox:", "upload:", "/", "inbox:.", "upload:."])  # fmt: skip
def test_a_name_that_no_file_can_have_is_refused(settings: Settings, source: str) -> None:
    with pytest.raises(Reject):
        _sources.fetch(source, settings)


def test_a_file_that_is_swapped_for_a_link_in_between_is_never_followed(settings: Settings) -> None:
    name, other = settings.inbox_dir / "t.csv", settings.inbox_dir / "other"
    name.write_text("harmless")
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            other.symlink_to(settings.data_dir / "private.csv")
            other.replace(name)
            other.write_text("harmless")
            other.replace(name)

    swapper = threading.Thread(target=swap)
    swapper.start()
    read: set[bytes] = set()
    try:
        for _ in range(3000):
            try:
                with files.open_source(settings, "t.csv")[0] as file:
                    read.add(file.read())
            except files.FileRefused:
                continue
    finally:
        done.set()
        swapper.join()
    assert read <= {b"harmless", b""}


def test_a_folder_that_is_swapped_for_a_link_in_between_is_never_followed(settings: Settings) -> None:
    outside = settings.data_dir / "outside"
    for folder in (outside, settings.inbox_dir / "one"):
        folder.mkdir()
    (outside / "t.csv").write_text(SECRET)
    (settings.inbox_dir / "one" / "t.csv").write_text("harmless")
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            (settings.inbox_dir / "one").rename(settings.inbox_dir / "aside")
            (settings.inbox_dir / "one").symlink_to(outside)
            (settings.inbox_dir / "one").unlink()
            (settings.inbox_dir / "aside").rename(settings.inbox_dir / "one")

    swapper = threading.Thread(target=swap)
    swapper.start()
    read: set[bytes] = set()
    try:
        for _ in range(3000):
            try:
                with files.open_source(settings, "one/t.csv")[0] as file:
                    read.add(file.read())
            except files.FileRefused:
                continue
    finally:
        done.set()
        swapper.join()
    assert read <= {b"harmless"}


def test_every_pass_reads_the_file_that_was_checked(settings: Settings) -> None:
    (settings.inbox_dir / "t.csv").write_text("harmless")
    dataset = _sources.fetch("t.csv", settings)
    (settings.inbox_dir / "t.csv").unlink()
    (settings.inbox_dir / "t.csv").symlink_to(settings.data_dir / "private.csv")
    for _ in range(2):
        with dataset.open() as file:
            assert file.read() == b"harmless"


def test_a_dataset_that_breaks_off_leaves_no_report(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = settings.data_dir / "made"
    folder.mkdir()
    (settings.inbox_dir / "t.csv").write_text("a\n1\n")
    monkeypatch.setattr(datasets, "job_files", lambda: folder)
    (folder / "report.html").mkdir()  # what cannot be replaced: the second report fails
    with pytest.raises(IsADirectoryError):
        datasets.process("t.csv")
    assert [path.name for path in folder.iterdir() if path.is_file()] == []


# INBOX_DIR.


@pytest.mark.parametrize(
    "inbox", [".", "..", "run", "valkey", "uploads", "files", "mail", "files/x", "x", "taskyard.db", "/", "link"]
)
def test_the_inbox_cannot_hold_what_is_taskyards_own(tmp_path: Path, inbox: str) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    (data_dir / "link").symlink_to(data_dir)
    with pytest.raises(SettingsError, match="INBOX_DIR"):
        Settings.from_env({"DATA_DIR": str(data_dir), "INBOX_DIR": os.path.join(data_dir, inbox)})


def test_the_inbox_cannot_hold_the_database(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="INBOX_DIR"):
        Settings.from_env(
            {
                "DATA_DIR": str(tmp_path / "data"),
                "INBOX_DIR": str(tmp_path / "drop"),
                "DATABASE_URL": f"sqlite:///{tmp_path / 'drop' / 'x.db'}",
            }
        )


def test_the_inbox_is_made_where_the_setting_says(tmp_path: Path) -> None:
    settled = home.settle(Settings.from_env({"DATA_DIR": str(tmp_path / "data"), "INBOX_DIR": str(tmp_path / "drop")}))
    assert (tmp_path / "drop").is_dir()
    (tmp_path / "drop" / "t.csv").write_text("a\n1\n")
    with files.open_source(settled, "t.csv")[0] as file:
        assert file.read() == b"a\n1\n"


def test_an_inbox_that_is_replaced_by_a_link_to_data_dir_is_refused(settings: Settings) -> None:
    settings.inbox_dir.rmdir()
    settings.inbox_dir.symlink_to(settings.data_dir)
    with pytest.raises(Reject, match="INBOX_DIR"):
        _sources.fetch("secret_key", settings)


# What a job leaves.


@pytest.fixture
def job(light_yard: Yard) -> tuple[str, Path]:
    """Make a job with a folder of files."""
    made = jobs.enqueue(light_yard, NewJob("samples.noop"))
    (light_yard.settings.data_dir / "private.csv").write_text(SECRET)
    return made.job_id, files.make_folder(light_yard.settings.files_dir, made.job_id)


@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_regular_file_is_neither_listed_nor_served(
    app: Flask, auth: Auth, light_yard: Yard, job: tuple[str, Path], kind: str
) -> None:
    job_id, folder = job
    (folder / "good.txt").write_text("good")
    ODD[kind](light_yard.settings, folder / "odd.txt")
    client = app.test_client()
    headers = auth.token("viewer")
    page = client.get(f"/jobs/{job_id}?tab=result", headers=headers)
    assert ("good.txt" in page.text, "odd.txt" in page.text) == (True, False)
    assert client.get(f"/jobs/{job_id}/files/odd.txt", headers=headers).status_code == 404
    assert client.get(f"/jobs/{job_id}/files/good.txt", headers=headers).text == "good"


def test_a_folder_that_is_a_link_is_neither_listed_nor_served(
    app: Flask, auth: Auth, light_yard: Yard, job: tuple[str, Path]
) -> None:
    job_id, folder = job
    folder.rmdir()
    folder.symlink_to(light_yard.settings.data_dir)
    client = app.test_client()
    page = client.get(f"/jobs/{job_id}?tab=result", headers=auth.token("viewer"))
    assert "private.csv" not in page.text
    answer = client.get(f"/jobs/{job_id}/files/private.csv", headers=auth.token("viewer"))
    assert (answer.status_code, SECRET in answer.text) == (404, False)


@pytest.mark.parametrize(
    "name",
    ["..", ".", ".hidden", "%2e%2e%2fprivate.csv", "..%2f..%2fprivate.csv", "%2fetc%2fpasswd", "a%00b", "a%0d%0ab", "%ff", "x" * 300, "nothing"],
)  # fmt: skip
def test_a_name_that_is_none_of_the_jobs_files_is_not_found(
    app: Flask, auth: Auth, job: tuple[str, Path], name: str
) -> None:
    (job[1] / ".hidden").write_text("hidden")
    answer = app.test_client().get(f"/jobs/{job[0]}/files/{name}", headers=auth.token("viewer"))
    # An address that cannot be read at all is refused before it is looked up.
    assert answer.status_code == (400 if name in {"a%00b", "a%0d%0ab"} else 404)


def test_names_that_would_break_a_page_or_a_header_are_left_out(
    app: Flask, auth: Auth, light_yard: Yard, job: tuple[str, Path]
) -> None:
    for name in (b"line\nbreak", b"\xff\xfe", "\u202egnp.exe".encode(), b"\x1b[31mred", b"plain name \xc3\xa4.txt"):
        (job[1] / os.fsdecode(name)).write_text("x")
    assert [file.name for file in files.list_files(job[1])] == ["plain name ä.txt", "\u202egnp.exe"]
    client = app.test_client()
    assert client.get(f"/jobs/{job[0]}?tab=result", headers=auth.token("viewer")).status_code == 200
    assert client.get(f"/jobs/{job[0]}/files/plain name ä.txt", headers=auth.token("viewer")).status_code == 200


SERVED = {
    "note.txt": (b"<script>alert(1)</script>", "text/plain; charset=utf-8", "inline"),
    "data.csv": (b"a,b", "text/plain; charset=utf-8", "inline"),
    "data.json": (b"{}", "text/plain; charset=utf-8", "inline"),
    "true.png": (PNG, "image/png", "inline"),
    "photo.JPEG": (b"\xff\xd8\xff\xe0" + bytes(20), "image/jpeg", "inline"),
    "true.gif": (b"GIF89a" + bytes(20), "image/gif", "inline"),
    "true.webp": (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp", "inline"),
    "false.png": (b"<html><script>alert(1)</script>", "image/png", "inline"),
    "drawing.svg": (b"<svg onload='alert(1)'/>", "application/octet-stream", "attachment"),
    "page.xhtml": (b"<html/>", "application/octet-stream", "attachment"),
    "feed.xml": (b"<x/>", "application/octet-stream", "attachment"),
    "paper.pdf": (b"%PDF-1.7", "application/octet-stream", "attachment"),
    "code.js": (b"alert(1)", "application/octet-stream", "attachment"),
    "style.css": (b"*{}", "application/octet-stream", "attachment"),
    "page.htm": (b"<html/>", "application/octet-stream", "attachment"),
    "nothing": (b"", "application/octet-stream", "attachment"),
    "report.html": (b"<h1>r</h1>", "application/octet-stream", "attachment"),
    "report.html?view=1": (b"<h1>r</h1>", "text/html; charset=utf-8", "inline"),
}


@pytest.mark.parametrize("name", SERVED)
def test_a_file_is_served_so_that_it_cannot_run_here(app: Flask, auth: Auth, job: tuple[str, Path], name: str) -> None:
    content, kind, disposition = SERVED[name]
    (job[1] / name.partition("?")[0]).write_bytes(content)
    client, address = app.test_client(), f"/jobs/{job[0]}/files/{name}"
    answer = client.get(address, headers=auth.token("viewer"))
    assert (answer.data, answer.headers["Content-Type"]) == (content, kind)
    assert answer.headers["Content-Disposition"].split(";")[0] == disposition
    policy = {part.strip() for part in answer.headers["Content-Security-Policy"].split(";")}
    assert {"sandbox", "default-src 'none'"} <= policy
    assert not any("script" in part or "allow-" in part for part in policy)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    saved = client.get(address.partition("?")[0] + "?download=1", headers=auth.token("viewer"))
    assert saved.headers["Content-Disposition"].startswith("attachment")


def test_a_part_of_a_file_can_be_asked_for(app: Flask, auth: Auth, job: tuple[str, Path]) -> None:
    (job[1] / "note.txt").write_bytes(b"0123456789")
    client, address = app.test_client(), f"/jobs/{job[0]}/files/note.txt"
    for asked, status, got in (("bytes=2-4", 206, b"234"), ("bytes=-3", 206, b"789"), ("bytes=20-", 416, None)):
        answer = client.get(address, headers={**auth.token("viewer"), "Range": asked})
        assert answer.status_code == status
        assert got is None or answer.data == got


def test_nobody_without_an_account_gets_a_file(app: Flask, job: tuple[str, Path]) -> None:
    (job[1] / "note.txt").write_text("x")
    assert app.test_client().get(f"/jobs/{job[0]}/files/note.txt").status_code in {302, 401}


def test_a_report_runs_no_script_in_a_browser(running: Running, page: Page) -> None:
    job_id = running.enqueue("samples.noop")
    folder = running.data_dir / "files" / job_id
    folder.mkdir()
    (folder / "report.html").write_text(
        "<title>still</title><h1>Report</h1><script>document.title='ran'</script><img src=x onerror=\"document.title='ran'\">"
        "<meta http-equiv=refresh content='0;url=/settings'>"
    )
    page.goto(running.address + "/sign-in")
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(running.address + "/")
    page.goto(f"{running.address}/jobs/{job_id}/files/report.html?view=1")
    page.wait_for_timeout(500)
    assert (page.title(), page.get_by_role("heading").inner_text()) == ("still", "Report")
    assert page.url.endswith("/report.html?view=1")


# What Taskyard writes and deletes.


def test_a_job_whose_folder_is_a_link_writes_to_a_new_folder(settings: Settings) -> None:
    elsewhere = settings.data_dir / "elsewhere"
    elsewhere.mkdir()
    (settings.files_dir / "x").symlink_to(elsewhere)
    files.write_file(files.make_folder(settings.files_dir, "x"), "report.json", b"{}")
    assert list(elsewhere.iterdir()) == []


def test_a_report_replaces_a_link_instead_of_writing_through_it(settings: Settings) -> None:
    folder = files.make_folder(settings.files_dir, "x")
    (folder / "report.json").symlink_to(settings.data_dir / "private.csv")
    files.write_file(folder, "report.json", b"{}")
    assert (settings.data_dir / "private.csv").read_text() == SECRET
    assert (folder / "report.json").read_bytes() == b"{}"


@pytest.mark.parametrize("kind", ["folder", "link inside", "link"])
def test_the_files_of_a_job_are_deleted_without_following_links(settings: Settings, kind: str) -> None:
    elsewhere, job_id = settings.data_dir / "elsewhere", new_id()
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("kept")
    folder = settings.files_dir / job_id
    if kind == "link":
        folder.symlink_to(elsewhere)
    else:
        folder.mkdir()
        (folder / "inner").symlink_to(elsewhere) if kind == "link inside" else (folder / "x").write_text("x")
    files.remove_job_folder(settings, job_id)
    assert not os.path.lexists(folder)
    assert (elsewhere / "kept").read_text() == "kept"


@pytest.mark.parametrize("name", ["", ".", "..", "../uploads", "/"])
def test_only_a_jobs_folder_can_be_deleted(settings: Settings, name: str) -> None:
    files.remove_job_folder(settings, name)
    assert settings.uploads_dir.is_dir()
    assert settings.files_dir.is_dir()


@pytest.mark.parametrize("act", ["delete", "retention"])
def test_the_files_of_a_job_go_with_it(light_yard: Yard, operator: Any, act: str) -> None:
    job_id = jobs.enqueue(light_yard, NewJob("samples.noop")).job_id
    folder = files.make_folder(light_yard.settings.files_dir, job_id)
    (folder / "report.json").write_text("{}")
    jobs.cancel(light_yard, job_id, operator)
    if act == "delete":
        jobs.delete(light_yard, job_id, operator)
    else:
        from datetime import timedelta

        from workers.domain.clock import utcnow

        assert retention.purge_step(light_yard, utcnow() + timedelta(days=40)) == 1
    assert not folder.exists()


def test_an_upload_never_overwrites_and_keeps_no_folder(settings: Settings) -> None:
    from io import BytesIO

    from dashboard import uploads

    for name in ("../../secret_key", "/etc/passwd", "..", "a\0b", "\u202ex.csv", "x" * 500, ""):
        source = uploads.save(settings, BytesIO(b"x"), name)
        assert Path(settings.uploads_dir, source.removeprefix("upload:")).read_bytes() == b"x"
        with files.open_source(settings, source)[0] as file:
            assert file.read() == b"x"
    assert {path.parent for path in settings.data_dir.rglob("*") if path.is_file()} == {
        settings.data_dir,
        settings.uploads_dir,
    }


def test_a_mail_that_is_a_link_is_not_sent(settings: Settings) -> None:
    from workers.tasks import email

    outbox = files.make_folder(settings.data_dir / "mail", "outbox")
    files.make_folder(settings.data_dir / "mail", "failed")
    (outbox / "m.eml").symlink_to(settings.data_dir / "private.csv")
    sent: list[object] = []

    class Server:
        def send_message(self, message: object) -> None:
            sent.append(message)

    assert email._send(Server(), outbox / "m.eml") is False  # type: ignore[arg-type]
    assert sent == []


def test_results_hold_no_secret_key(running: Running) -> None:
    key = (running.data_dir / "secret_key").read_text().strip()
    listed = running.run("jobs", "--json", "--limit", "200").stdout
    assert json.loads(listed.splitlines()[0])
    assert key not in listed
