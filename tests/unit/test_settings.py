"""Settings from the environment: defaults, each bad value refused in one sentence, secrets from files."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from workers.domain.errors import SettingsError
from workers.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


def test_nothing_set_means_loopback_sqlite_and_an_embedded_server(tmp_path: Path) -> None:
    settings = Settings.from_env({"DATA_DIR": str(tmp_path)})
    assert (settings.host, settings.port) == ("127.0.0.1", 5000)
    assert settings.database_url == f"sqlite:///{tmp_path}/taskyard.db"
    assert settings.embedded_redis
    assert settings.effective_redis_url == f"unix://{settings.valkey_socket}?db=0"
    assert not settings.allow_private_http


def test_the_folder_is_absolute_wherever_a_process_stands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings.from_env({"DATA_DIR": "here"}).data_dir == tmp_path / "here"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "x"),
        ("PORT", "-1"),
        ("PORT", "65536"),
        ("WORKERS", "1.5"),
        ("WORKERS", "257"),
        ("WORKERS_MIN", "0"),
        ("WORKERS_MIN", "9"),
        ("HEARTBEAT_SECONDS", "nan"),
        ("HEARTBEAT_SECONDS", "0"),
        ("STUCK_AFTER_SECONDS", "0"),
        ("MONITOR_INTERVAL_SECONDS", "0"),
        ("MONITOR_INTERVAL_SECONDS", "3601"),
        ("RETENTION_DAYS", "0"),
        ("RETENTION_DAYS", "9999999"),
        ("TRUSTED_PROXIES", "-1"),
        ("ALLOW_PRIVATE_HTTP", "maybe"),
        ("RECYCLE_JOBS", "0"),
        ("RECYCLE_MEMORY_MB", "1"),
        ("LOG_FORMAT", "xml"),
        ("LOG_LEVEL", "loud"),
        ("DATABASE_URL", "mysql://x/y"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.from_env({name: value})


@pytest.mark.parametrize("given", ["postgres://u@h/d", "postgresql://u@h/d", "postgresql+psycopg://u@h/d"])
def test_every_spelling_of_postgresql_gets_the_same_driver(given: str) -> None:
    assert Settings.from_env({"DATABASE_URL": given}).database_url == "postgresql+psycopg://u@h/d"


def test_a_secret_may_lie_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from the file, with enough letters\n")
    assert (
        Settings.from_env({"SECRET_KEY_FILE": str(tmp_path / "key")}).secret_key == "from the file, with enough letters"
    )


def test_what_is_set_itself_goes_before_its_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from the file, with enough letters\n")
    both = {"SECRET_KEY": "given, with more than enough letters", "SECRET_KEY_FILE": str(tmp_path / "key")}
    assert Settings.from_env(both).secret_key == "given, with more than enough letters"


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(SettingsError, match="/no/such/file"):
        Settings.from_env({"ADMIN_PASSWORD_FILE": "/no/such/file"})


def test_secrets_are_not_shown() -> None:
    shown = repr(
        Settings.from_env(
            {
                "SECRET_KEY": "hidden-1 0123456789abcdefghijklmnop",
                "ADMIN_PASSWORD": "hidden-2",
                "ALERT_URLS": "hidden-3",
            }
        )
    )
    assert "hidden" not in shown


def test_a_socket_path_fits_however_long_the_folder_is(tmp_path: Path) -> None:
    deep = str(tmp_path / ("d" * 150))
    socket = Settings.from_env({"DATA_DIR": deep}).valkey_socket
    assert len(str(socket)) <= 100
    assert socket == Settings.from_env({"DATA_DIR": deep}).valkey_socket
    assert socket != Settings.from_env({"DATA_DIR": deep + "e"}).valkey_socket


def test_every_setting_is_documented() -> None:
    documented = set(re.findall(r"^\| `([A-Z_]+)`", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE))
    assert {one.name.upper() for one in fields(Settings)} == documented
