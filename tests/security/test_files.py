"""Files: a job reads only the inbox and uploads, and only regular files of a job are served, unable to act as this origin."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from workers.domain.errors import SettingsError
from workers.processes import home
from workers.services import files, jobs
from workers.services.enqueueing import NewJob
from workers.settings import Settings
from workers.task import Reject
from workers.tasks import datasets
from workers.yard import Yard

SECRET = "a,b\nsecret-words,2\n"


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "data"
    monkeypatch.setenv("DATA_DIR", str(folder))
    home.settle(Settings.from_env())
    for name in (
        "taskyard.db",
        "taskyard.db-wal",
        "lock",
        "valkey/appendonly.aof",
        "mail/sent/a.eml",
        "run/x",
        "files/j/x",
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SECRET)
    return folder


def sources_of(folder: Path) -> list[str]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    names = [path.relative_to(folder).as_posix() for path in paths]
    spellings = [names, [f"../{name}" for name in names], [f"x/../../{name}" for name in names], list(map(str, paths))]
    plain = [source for spelling in spellings for source in spelling]
    return [f"{prefix}{source}" for prefix in ("", "inbox:", "upload:") for source in plain]


def test_no_file_of_taskyards_own_can_be_the_source_of_a_job(data_dir: Path) -> None:
    sources = sources_of(data_dir)
    assert len(sources) > 80
    for source in sources:
        with pytest.raises(Reject):
            datasets.process(source)


@pytest.mark.parametrize(
    "source", ["/etc/passwd", "/proc/self/environ", "/dev/zero", "../../../../etc/passwd", ".", "..", "", "a\x00b"]
)
def test_no_file_of_the_system_can_be_the_source_of_a_job(data_dir: Path, source: str) -> None:
    with pytest.raises(Reject):
        datasets.process(source)
    with pytest.raises(Reject):
        datasets.process(f"upload:{source}")


@pytest.mark.parametrize("target", ["secret_key", "taskyard.db", ".", "/etc/passwd", "/proc/self/environ"])
def test_a_link_in_the_inbox_leads_nowhere_outside(data_dir: Path, target: str) -> None:
    inbox = data_dir / "inbox"
    (inbox / "link.csv").symlink_to(data_dir / target)
    (inbox / "chain.csv").symlink_to(inbox / "link.csv")
    (inbox / "folder").symlink_to(data_dir)
    for source in ("link.csv", "chain.csv", "folder/secret_key", "folder/taskyard.db"):
        with pytest.raises(Reject):
            datasets.process(source)


def test_a_link_inside_the_inbox_may_be_followed(data_dir: Path) -> None:
    inbox = data_dir / "inbox"
    (inbox / "deep").mkdir()
    (inbox / "deep" / "real.csv").write_text("a\n1\n")
    (inbox / "link.csv").symlink_to(inbox / "deep" / "real.csv")
    assert datasets.process("link.csv")["records"] == 1
    assert datasets.process("inbox:deep/real.csv")["records"] == 1


def test_a_second_name_of_a_file_elsewhere_is_refused(data_dir: Path) -> None:
    os.link(data_dir / "taskyard.db", data_dir / "inbox" / "copy.csv")
    with pytest.raises(Reject, match="hard links"):
        datasets.process("copy.csv")


def test_a_named_pipe_does_not_hold_a_job(data_dir: Path) -> None:
    os.mkfifo(data_dir / "inbox" / "pipe.csv")
    with pytest.raises(Reject, match="not a regular file"):
        datasets.process("pipe.csv")


def test_a_link_that_is_swapped_in_after_the_check_reaches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    (root / "deep").mkdir(parents=True)
    (root / "deep" / "a").write_text("harmless")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a").write_text(SECRET)
    real_open = os.open

    def swap_and_open(*arguments: Any, **options: Any) -> int:
        if not (root / "moved").exists():
            (root / "deep").rename(root / "moved")
            (root / "deep").symlink_to(outside)
        return real_open(*arguments, **options)

    monkeypatch.setattr(os, "open", swap_and_open)
    with pytest.raises(files.FileRefused, match="changed while"):
        files.open_below(root, "deep/a")


@pytest.mark.parametrize("inbox", ["{data}", "{data}/files", "{data}/..", "/"])
def test_an_inbox_that_holds_secrets_is_refused_at_the_start(tmp_path: Path, inbox: str) -> None:
    data = tmp_path / "data"
    with pytest.raises(SettingsError, match="INBOX_DIR"):
        Settings.from_env({"DATA_DIR": str(data), "INBOX_DIR": inbox.format(data=data)})


def test_an_inbox_elsewhere_is_read(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox = tmp_path / "inbox of mine"
    inbox.mkdir()
    (inbox / "t.csv").write_text("a\n1\n")
    monkeypatch.setenv("INBOX_DIR", str(inbox))
    assert datasets.process("t.csv")["records"] == 1


@pytest.fixture
def job_folder(light_yard: Yard) -> Path:
    job_id = jobs.enqueue(light_yard, NewJob("samples.noop")).job_id
    folder = light_yard.settings.files_dir / job_id
    folder.mkdir(parents=True)
    return folder


def fetch(auth: Any, folder: Path, name: str, query: str = "") -> Any:
    return auth.client("vera").get(f"/jobs/{folder.name}/files/{name}{query}")


def test_a_link_made_by_a_job_is_neither_listed_nor_served(auth: Any, light_yard: Yard, job_folder: Path) -> None:
    secret = light_yard.settings.data_dir / "secret.txt"
    secret.write_text(SECRET)
    (job_folder / "link.txt").symlink_to(secret)
    (job_folder / "passwd.txt").symlink_to("/etc/passwd")
    os.link(secret, job_folder / "second.txt")
    os.mkfifo(job_folder / "pipe.txt")
    (job_folder / "good.txt").write_text("fine")
    assert [file.name for file in files.list_files(job_folder)] == ["good.txt"]
    for name in ("link.txt", "passwd.txt", "second.txt", "pipe.txt", "none.txt", "..%2f..%2fsecret.txt", "%00", ".."):
        answer = fetch(auth, job_folder, name)
        assert answer.status_code in {301, 308, 400, 404}, name
        assert "secret-words" not in answer.text
    assert fetch(auth, job_folder, "good.txt").text == "fine"


def test_a_folder_that_a_job_replaced_by_a_link_serves_nothing(auth: Any, light_yard: Yard, job_folder: Path) -> None:
    outside = light_yard.settings.data_dir / "elsewhere"
    outside.mkdir()
    (outside / "a.txt").write_text(SECRET)
    job_folder.rmdir()
    job_folder.symlink_to(outside)
    assert files.list_files(job_folder) == []
    assert fetch(auth, job_folder, "a.txt").status_code == 404


SCRIPT = "<script>alert(1)</script>"


@pytest.mark.parametrize(
    ("name", "query", "media_type", "is_download"),
    [
        ("a.png", "", "image/png", False),
        ("a.txt", "", "text/plain; charset=utf-8", False),
        ("a.json", "", "text/plain; charset=utf-8", False),
        ("a.txt", "?download=1", "application/octet-stream", True),
        ("a.html", "", "application/octet-stream", True),
        ("a.html", "?view=1", "text/html; charset=utf-8", False),
        ("a.HTM", "?view=1", "application/octet-stream", True),
        ("a.svg", "?view=1", "application/octet-stream", True),
        ("a.xml", "", "application/octet-stream", True),
        ("a.js", "", "application/octet-stream", True),
        ("a.css", "", "application/octet-stream", True),
        ("a.pdf", "", "application/octet-stream", True),
        ("a.swf", "", "application/octet-stream", True),
        ("a", "", "application/octet-stream", True),
    ],
)
def test_a_file_of_a_job_cannot_act_as_this_origin(
    auth: Any, job_folder: Path, name: str, query: str, media_type: str, is_download: bool
) -> None:
    (job_folder / name).write_text(SCRIPT)
    answer = fetch(auth, job_folder, name, query)
    assert answer.headers["Content-Type"] == media_type
    assert answer.headers.get("Content-Disposition", "").startswith("attachment") is is_download
    assert answer.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_name_cannot_break_out_of_its_header(auth: Any, job_folder: Path) -> None:
    name = 'a"; filename=evil.html\u202e.bin'
    (job_folder / name).write_text("x")
    answer = fetch(auth, job_folder, name)
    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"].isascii()
    assert "\u202e" not in answer.headers["Content-Disposition"]


def test_an_upload_gets_a_name_of_our_own(light_yard: Yard) -> None:
    import io

    from dashboard import uploads

    settings = replace(light_yard.settings)
    for name in ("../../x", "/etc/passwd", "a\x00b", "x" * 5000, "", "..", "\u202ecsv.exe"):
        saved = uploads.save(settings, io.BytesIO(b"a\n1\n"), name).removeprefix("upload:")
        assert (settings.uploads_dir / saved).is_file()
        assert "/" not in saved
        assert len(saved) < 120
