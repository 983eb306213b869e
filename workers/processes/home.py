"""The folder of one Taskyard on this machine: made with narrow rights, its secret key kept, one start at a time."""

from __future__ import annotations

import fcntl
import json
import os
import stat
from dataclasses import replace
from pathlib import Path

from workers.domain.errors import Conflict, SettingsError
from workers.services import private_files
from workers.settings import Settings


def settle(settings: Settings) -> Settings:
    """Make the folders that are missing and fill in the secret key that is kept there. Raises SettingsError."""
    try:
        own = (settings.data_dir, settings.data_dir / "run", settings.uploads_dir, settings.files_dir)
        for folder in (*own, settings.inbox_dir):
            _make_private(folder)
        if settings.embedded_redis:
            _make_private(settings.valkey_socket.parent)
        private_files.tighten_own_files(settings)
        key = settings.secret_key or _kept_key(settings.data_dir / "secret_key")
    except OSError as error:
        raise SettingsError(
            f"DATA_DIR {settings.data_dir} is not usable ({error.strerror}: {error.filename}). "
            "Give this user write permission, or set DATA_DIR to another folder."
        ) from error
    return replace(settings, secret_key=key)


class Lock:
    """Held by the one supervisor of a folder; the system lets go of it when that process ends, however it ends."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._file = os.open(settings.data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def take(self) -> None:
        """Take the lock; Conflict names who holds it."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(
                f"Taskyard already runs on {self._settings.data_dir} ({self._holder()}). "
                "Stop that instance or set DATA_DIR to another folder."
            ) from None

    def tell(self, address: str) -> None:
        """Write down who holds it, for the message that a second start gets."""
        os.truncate(self._file, 0)
        os.pwrite(self._file, json.dumps({"pid": os.getpid(), "address": address}).encode(), 0)

    def release(self) -> None:
        """Let go."""
        os.truncate(self._file, 0)
        os.close(self._file)

    def _holder(self) -> str:
        try:
            told = json.loads(os.pread(self._file, 1000, 0))
            return f"pid {told['pid']}, {told['address']}"
        except (ValueError, KeyError):
            return "it is starting"


def _make_private(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.name.startswith("taskyard-"):
        # It lies in a folder where anybody may make things.
        status = os.lstat(folder)
        if status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode):
            raise PermissionError(1, "owned by another user", str(folder))
        folder.chmod(0o700)


def _kept_key(path: Path) -> str:
    # Written aside and linked, so that of several processes at once all read the one whole key.
    if not path.exists():
        aside = path.with_name(f".secret_key.{os.getpid()}")
        aside.unlink(missing_ok=True)
        file = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(file, "w", encoding="ascii") as writer:
            writer.write(os.urandom(32).hex())
        try:
            os.link(aside, path)
        except FileExistsError:
            pass
        finally:
            aside.unlink()
    key = path.read_text(encoding="ascii").strip()
    if len(key) < 32:
        raise SettingsError(
            f"{path} does not contain a valid key. Delete the file to create a new key; all users must sign in again."
        )
    return key
