"""Files whose names come from users or jobs: found below one directory made for that purpose, and nowhere else.

The rule is checked on the opened file, not on its name: symlinks are resolved first, and the file that was opened must
still be the one that the resolved path names. So a link that is swapped between check and open reaches nothing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from workers.domain.errors import BadInput

MAX_LISTED_FILES = 100
_LONGEST_NAME = 1_000


class FileRefused(BadInput):
    """This file cannot be read: it is missing, lies elsewhere or is not a regular file."""


@dataclass(frozen=True, slots=True)
class JobFile:
    """A file that a job made; the size is in bytes."""

    name: str
    size: int


def open_below(root: Path, name: str) -> BinaryIO:
    """Open the regular file `name` below `root` for reading, wherever inside it symlinks lead. Raises FileRefused."""
    path = _resolve(root, name)
    try:
        # Without O_NONBLOCK a named pipe would hold the caller until somebody writes to it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise FileRefused(f"{_shown(name)} cannot be read: {error.strerror}.") from error
    try:
        _check_opened(descriptor, root, name)
    except BaseException:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def list_files(folder: Path) -> list[JobFile]:
    """Return the files of a job by name, 100 at most; whatever `open_below` would refuse is left out."""
    return sorted(_files_of(folder), key=lambda file: file.name)[:MAX_LISTED_FILES]


def _files_of(folder: Path) -> Iterator[JobFile]:
    try:
        entries = list(os.scandir(folder)) if not folder.is_symlink() else []
    except OSError:
        return
    for entry in entries:
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:
            continue
        if _is_plain(status) and not entry.name.startswith("."):
            yield JobFile(entry.name, status.st_size)


def _resolve(root: Path, name: str) -> str:
    if not name or len(name) > _LONGEST_NAME or "\x00" in name or os.path.isabs(name):
        raise FileRefused("A file is named by its path below the directory that holds it.")
    try:
        path = os.path.realpath(root / name)
    except (OSError, ValueError, UnicodeError) as error:
        raise FileRefused(f"{_shown(name)} is not a usable file name.") from error
    if not _is_below(path, root):
        raise FileRefused(f"{_shown(name)} lies outside of the directory that files are read from.")
    return path


def _check_opened(descriptor: int, root: Path, name: str) -> None:
    opened = os.fstat(descriptor)
    if not stat.S_ISREG(opened.st_mode):
        raise FileRefused(f"{_shown(name)} is not a regular file.")
    if opened.st_nlink > 1:
        # A second name for a file elsewhere would pass every check of paths.
        raise FileRefused(f"{_shown(name)} has several names (hard links). Copy it instead.")
    path = os.path.realpath(root / name)
    try:
        current = os.lstat(path)
    except OSError as error:
        raise FileRefused(f"{_shown(name)} changed while it was opened.") from error
    if not _is_below(path, root) or not os.path.samestat(opened, current):
        raise FileRefused(f"{_shown(name)} changed while it was opened.")


def _is_below(path: str, root: Path) -> bool:
    return path.startswith(os.path.realpath(root) + os.sep)


def _is_plain(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1


def _shown(name: str) -> str:
    return repr(name if len(name) <= 100 else f"{name[:100]}…")
