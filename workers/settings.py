"""The settings of a process, read once from the environment. Nothing else reads the environment."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from workers.domain import mails
from workers.domain.errors import BadInput, SettingsError
from workers.domain.mail_servers import read_mail_server
from workers.domain.redis_url import check_redis_url
from workers.domain.site import site_fault
from workers.environment import (
    Environment,
    read_absolute_path,
    read_names,
    read_path,
    read_seconds,
    read_switch,
    read_text,
    read_whole,
)

# What `forget_secrets` took out of the environment of this process.
_HIDDEN: dict[str, str] = {}
# The longest path of a Unix socket on macOS; Linux allows 107.
_LONGEST_SOCKET_PATH = 100


@dataclass(frozen=True, slots=True)
class Settings:
    """What a process needs to know of its surroundings; see docs/operations.md for each."""

    host: str = "127.0.0.1"
    port: int = 5000
    database_url: str = field(default="", repr=False)
    redis_url: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    admin_password: str = field(default="", repr=False)
    data_dir: Path = Path("data")
    inbox_dir: Path = Path()
    workers: int = 2
    workers_min: int = 1
    workers_max: int = 8
    task_modules: tuple[str, ...] = ()
    preload: bool = False
    import_seconds: float = 60
    shutdown_seconds: float = 10
    recovery_seconds: float = 60
    alert_urls: tuple[str, ...] = field(default=(), repr=False)
    smtp_url: str = field(default="", repr=False)
    mail_from: str = "taskyard@localhost"
    mail_to: str = ""
    site_name: str = ""
    public_url: str = ""
    timezone: str = "UTC"
    stuck_after_seconds: float = 1800
    heartbeat_seconds: float = 15
    monitor_interval_seconds: float = 60
    retention_days: int = 30
    upload_days: int = 30
    probe_url: str = ""
    database_limit_mb: int = 0
    allow_private_http: bool = False
    trusted_proxies: int = 0
    session_idle_minutes: int = 480
    max_connections_per_address: int = 100
    recycle_jobs: int = 1000
    recycle_memory_mb: int = 256
    log_format: str = "text"
    log_level: str = "info"

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
        """Read and check the settings; SettingsError says which one is wrong and what it may be."""
        env = Environment({**_HIDDEN, **os.environ} if environ is None else environ)
        settings = cls(**{name: read(env, name.upper()) for name, read in _READERS.items() if env.has(name.upper())})
        return replace(settings, **overrides)._checked()

    @property
    def embedded_redis(self) -> bool:
        """Whether Taskyard runs a Valkey server of its own."""
        return not self.redis_url

    @property
    def valkey_socket(self) -> Path:
        """Where the embedded server listens; the same for every process with this DATA_DIR."""
        wanted = self.data_dir / "run" / "valkey.sock"
        if len(os.fsencode(wanted)) <= _LONGEST_SOCKET_PATH:
            return wanted
        import hashlib  # rarely needed, and large: every process would carry it

        mark = hashlib.sha256(os.fsencode(self.data_dir)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"taskyard-{os.getuid()}-{mark}" / "valkey.sock"

    @property
    def effective_redis_url(self) -> str:
        """The address of Redis, given or embedded."""
        return self.redis_url or f"unix://{self.valkey_socket}?db=0"

    @property
    def sqlite_file(self) -> Path | None:
        """The file of a SQLite database; None for other databases."""
        path = self.database_url.removeprefix("sqlite:///").partition("?")[0]
        return Path(path) if self.database_url.startswith("sqlite:///") and path else None

    @property
    def uploads_dir(self) -> Path:
        """Where uploaded files wait for their job."""
        return self.data_dir / "uploads"

    @property
    def files_dir(self) -> Path:
        """Where files that jobs make are kept: `<job>/<name>`."""
        return self.data_dir / "files"

    def _checked(self) -> Settings:
        data_dir = Path(os.path.abspath(self.data_dir.expanduser()))
        checks = (
            (
                not self.secret_key or (len(self.secret_key) >= 32 and len(set(self.secret_key)) >= 8),
                "SECRET_KEY",
                "at least 32 random characters: python -c 'import secrets; print(secrets.token_hex(32))' creates one",
            ),
            (0 <= self.port <= 65535, "PORT", "a number from 0 to 65535"),
            (0 <= self.workers <= 256, "WORKERS", "a number from 0 to 256"),
            (1 <= self.workers_min <= self.workers_max <= 256, "WORKERS_MIN", "from 1 up to WORKERS_MAX (256 at most)"),
            (0.1 <= self.heartbeat_seconds <= 3600, "HEARTBEAT_SECONDS", "from 0.1 to 3600"),
            (self.stuck_after_seconds >= 1, "STUCK_AFTER_SECONDS", "at least 1"),
            (1 <= self.monitor_interval_seconds <= 3600, "MONITOR_INTERVAL_SECONDS", "from 1 to 3600"),
            (not self.probe_url or self.probe_url.startswith(("http://", "https://")), "PROBE_URL", "an http(s) URL"),
            (self.database_limit_mb >= 0, "DATABASE_LIMIT_MB", "0 (none) or more"),
            (1 <= self.retention_days <= 36500, "RETENTION_DAYS", "from 1 to 36500"),
            (1 <= self.upload_days <= 36500, "UPLOAD_DAYS", "from 1 to 36500"),
            (0 <= self.trusted_proxies <= 10, "TRUSTED_PROXIES", "the number of proxies in front, 0 to 10"),
            (5 <= self.session_idle_minutes <= 10_080, "SESSION_IDLE_MINUTES", "from 5 to 10080, which is a week"),
            (self.max_connections_per_address >= 0, "MAX_CONNECTIONS_PER_ADDRESS", "0 (no limit) or more"),
            (1 <= self.import_seconds <= 3600, "IMPORT_SECONDS", "from 1 to 3600"),
            (1 <= self.shutdown_seconds <= 86_400, "SHUTDOWN_SECONDS", "from 1 to 86400"),
            (1 <= self.recovery_seconds <= 86_400, "RECOVERY_SECONDS", "from 1 to 86400"),
            (self.recycle_jobs >= 1, "RECYCLE_JOBS", "at least 1"),
            (self.recycle_memory_mb >= 16, "RECYCLE_MEMORY_MB", "at least 16"),
            (self.log_format in {"text", "json"}, "LOG_FORMAT", "text or json"),
            (self.log_level in {"debug", "info", "warning", "error"}, "LOG_LEVEL", "debug, info, warning or error"),
        )
        for holds, name, may_be in checks:
            if not holds:
                is_secret = not self.__dataclass_fields__[name.lower()].repr
                shown = "this value" if is_secret else repr(getattr(self, name.lower()))
                raise SettingsError(f"{name} cannot be {shown}. Use {may_be}.")
        self._check_mail()
        if self.redis_url:
            check_redis_url(self.redis_url)
        if fault := site_fault(self.site_name, self.public_url, self.timezone):
            raise SettingsError(f"{fault[0]} is invalid. Use {fault[1]}.")
        database_url = _database_url(self.database_url, data_dir)
        settings = replace(self, data_dir=data_dir, database_url=database_url)
        return replace(settings, inbox_dir=checked_inbox(settings))

    def _check_mail(self) -> None:
        read_mail_server(self.smtp_url)
        try:
            mails.check_sender(self.mail_from)
            if self.mail_to:
                mails.check_recipients(self.mail_to)
        except BadInput as error:
            name = "MAIL_FROM" if error.field == "from" else "MAIL_TO"
            raise SettingsError(f"{name} is invalid: {error.message}") from None


def environment() -> dict[str, str]:
    """Return a copy of the environment."""
    return dict(os.environ)


def encoded_environment() -> dict[bytes, bytes]:
    """Return a copy of the environment as the system has it, for those who must notice that a task has changed it."""
    # What `os.environ` holds inside: a copy through its own methods takes fifty times as long, and is made for each job.
    inner: dict[bytes, bytes] = os.environ._data  # type: ignore[attr-defined]
    return inner.copy()


def is_setting(name: str) -> bool:
    """Return whether a variable of the environment is a setting of Taskyard."""
    return name.removesuffix("_FILE").lower() in Settings.__dataclass_fields__


def forget_secrets() -> None:
    """Take the settings that are secret out of the environment, before any code of a task is loaded.

    This process can still read its settings again; the programs that it starts cannot. The key of the sessions and the
    first password are no business of a process that runs tasks.
    """
    for field_name in _SECRETS:
        for name in (field_name.upper(), f"{field_name.upper()}_FILE"):
            value = os.environ.pop(name, None)
            if value and field_name not in {"secret_key", "admin_password"}:
                _HIDDEN[name] = value


def checked_inbox(settings: Settings) -> Path:
    """Return the absolute INBOX_DIR; SettingsError when jobs could read what is Taskyard's own in it."""
    default = settings.data_dir / "inbox"
    inbox = default if settings.inbox_dir == Path() else Path(os.path.abspath(settings.inbox_dir))
    real, data_dir = os.path.realpath(inbox), os.path.realpath(settings.data_dir)
    is_elsewhere = not _is_within(real, data_dir) and not _is_within(data_dir, real)
    holds_database = settings.sqlite_file is not None and _is_within(os.path.realpath(settings.sqlite_file), real)
    if holds_database or not (is_elsewhere or real == os.path.join(data_dir, "inbox")):
        raise SettingsError(
            f"INBOX_DIR cannot be {inbox}: jobs may read every file in it, so it must not hold DATA_DIR or the database "
            "nor lie in DATA_DIR. Name a directory of its own."
        )
    return inbox


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _database_url(given: str, data_dir: Path) -> str:
    if not given:
        return f"sqlite:///{data_dir / 'taskyard.db'}"
    for short in ("postgres://", "postgresql://"):
        if given.startswith(short):
            return "postgresql+psycopg://" + given.removeprefix(short)
    if given.startswith(("sqlite:///", "postgresql+psycopg://")):
        return given
    raise SettingsError("DATABASE_URL must start with postgresql:// or sqlite:///.")


_READERS: dict[str, Callable[[Environment, str], Any]] = {
    "host": read_text,
    "port": read_whole,
    "database_url": read_text,
    "redis_url": read_text,
    "secret_key": read_text,
    "admin_password": read_text,
    "data_dir": read_path,
    "inbox_dir": read_absolute_path,
    "workers": read_whole,
    "workers_min": read_whole,
    "workers_max": read_whole,
    "task_modules": read_names,
    "preload": read_switch,
    "import_seconds": read_seconds,
    "shutdown_seconds": read_seconds,
    "recovery_seconds": read_seconds,
    "alert_urls": read_names,
    "smtp_url": read_text,
    "mail_from": read_text,
    "mail_to": read_text,
    "site_name": read_text,
    "public_url": read_text,
    "timezone": read_text,
    "stuck_after_seconds": read_seconds,
    "heartbeat_seconds": read_seconds,
    "monitor_interval_seconds": read_seconds,
    "retention_days": read_whole,
    "upload_days": read_whole,
    "probe_url": read_text,
    "database_limit_mb": read_whole,
    "allow_private_http": read_switch,
    "trusted_proxies": read_whole,
    "session_idle_minutes": read_whole,
    "max_connections_per_address": read_whole,
    "recycle_jobs": read_whole,
    "recycle_memory_mb": read_whole,
    "log_format": read_text,
    "log_level": read_text,
}
_SECRETS = tuple(name for name, part in Settings.__dataclass_fields__.items() if not part.repr)
