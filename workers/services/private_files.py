"""Private files: what Taskyard writes can be read by its own user alone, also in a folder that is open to others."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from workers.settings import Settings

UMASK = 0o077
_OTHERS = 0o077
_FOLDERS = ("run", "valkey", "uploads", "files", "mail")
# A file that is opened in the usual way and closed again takes the locks along that SQLite holds on it in this process:
# another process would then remove the write-ahead log that is in use here. A descriptor of a path alone leaves them.
_PATH_ALONE = getattr(os, "O_PATH", 0)
_OPEN = (_PATH_ALONE or os.O_RDONLY | os.O_NONBLOCK) | os.O_NOFOLLOW | os.O_CLOEXEC


def restrict_umask() -> None:
    """Let this process and its children make files with mode 0600 and folders with 0700 at most."""
    os.umask(UMASK)


def tighten(paths: Iterable[Path]) -> None:
    """Take the permissions of other users away from files and folders of this user. Links are not followed."""
    for path in paths:
        with suppress(OSError):
            _tighten(path)


def tighten_own_files(settings: Settings) -> None:
    """Tighten the files that stand directly in DATA_DIR, the folders beside them and the database."""
    names = ("secret_key", "lock", *_FOLDERS)
    tighten(settings.data_dir / name for name in names)
    file = settings.sqlite_file
    if file is not None:
        tighten(file.with_name(file.name + end) for end in ("", "-wal", "-shm", "-journal"))


def tighten_trees(settings: Settings) -> None:
    """Tighten everything in the folders of DATA_DIR that Taskyard writes. The inbox is left as people made it."""
    for name in _FOLDERS:
        for folder, folders, files in os.walk(settings.data_dir / name):
            tighten(Path(folder, inner) for inner in (*folders, *files))


def _tighten(path: Path) -> None:
    status = os.lstat(path)
    if not status.st_mode & _OTHERS or not _is_own(status):
        return
    descriptor = os.open(path, _OPEN)
    try:
        status = os.fstat(descriptor)
        if _is_own(status):
            mode = 0o700 if stat.S_ISDIR(status.st_mode) else 0o600
            os.chmod(f"/proc/self/fd/{descriptor}" if _PATH_ALONE else descriptor, mode)
    finally:
        os.close(descriptor)


def _is_own(status: os.stat_result) -> bool:
    return status.st_uid == os.getuid() and (stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode))
