"""Files that a user or a job names, opened only below the folders made for them.

A path is resolved against its root, then walked by descriptors that follow no link: what is swapped between the check and
the opening is refused too. Only regular files with a single name are opened: no folder, FIFO, device, socket or hard link.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from workers.domain.errors import BadInput, SettingsError
from workers.domain.ids import is_id
from workers.services.file_trees import remove_tree
from workers.settings import Settings, checked_inbox

UNUSED_PREFIX = ".incoming-"  # of uploads that are not whole yet, or deleted
UPLOAD, INBOX = "upload:", "inbox:"
MAX_LISTED_FILES = 100
_LONGEST_SHOWN = 100
# Control characters, halves of surrogate pairs, separators of lines and paragraphs.
_BREAKING = {"Cc", "Cs", "Zl", "Zp"}
_MOST_SCANNED = 10_000
_LONGEST_NAME = 255
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_INNER_FOLDER = _FOLDER | os.O_NOFOLLOW
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class FileRefused(BadInput):
    """This file cannot be read: it is missing, lies elsewhere or is not a regular file."""


@dataclass(frozen=True, slots=True)
class JobFile:
    """A file that a job made; the size is in bytes."""

    name: str
    size: int


def open_source(settings: Settings, source: str) -> tuple[BinaryIO, str]:
    """Open what a payload names, `upload:<name>`, `inbox:<path>` or a path in the inbox; the file and its name.

    Raises FileRefused.
    """
    if source.startswith(UPLOAD):
        name = source.removeprefix(UPLOAD)
        if "/" in name:
            raise FileRefused("An upload is named upload:<name>, without a directory.")
        return open_below(settings.uploads_dir, name, follow_links=False), name
    path = source.removeprefix(INBOX)
    try:
        return open_below(checked_inbox(settings), path), path.rpartition("/")[2]
    except SettingsError as error:  # the directory has been replaced since the start
        raise FileRefused(error.message) from error


def open_below(root: Path, path: str, *, follow_links: bool = True) -> BinaryIO:
    """Open a regular file below the root for reading. Links are followed while they stay below it, or not at all.

    Raises FileRefused.
    """
    base = os.path.realpath(root)
    try:
        parts = _parts(path)
        if follow_links:
            parts = _resolved(base, parts)
        return os.fdopen(_descend(base, parts), "rb")
    except OSError as error:
        raise FileRefused(f"{_shown(path)} {_why(error)}") from error
    except ValueError as error:  # characters that no file system takes
        raise FileRefused(f"{_shown(path)} is not a usable file name.") from error


def list_files(folder: Path) -> list[JobFile]:
    """Return the files of a job by name, 100 at most; whatever `open_job_file` would refuse is left out."""
    found: list[JobFile] = []
    with suppress(OSError), _open_folder(os.path.realpath(folder.parent), [folder.name]) as descriptor:
        for entry in islice(os.scandir(descriptor), _MOST_SCANNED):
            status = entry.stat(follow_symlinks=False)
            if is_shown(entry.name) and _is_plain(status):
                found.append(JobFile(entry.name, status.st_size))
    return sorted(found, key=lambda file: file.name)[:MAX_LISTED_FILES]


def open_job_file(settings: Settings, job_id: str, name: str) -> BinaryIO:
    """Open a file that a job made. Raises FileRefused for everything that `list_files` leaves out."""
    if not is_id(job_id) or not is_shown(name):
        raise FileRefused(f"{_shown(name)} is not the name of a job's file.")
    return open_below(settings.files_dir, f"{job_id}/{name}", follow_links=False)


def is_shown(name: str) -> bool:
    """Return whether a job's file of this name is listed and served: on one line, not hidden, without a directory."""
    is_line = not any(unicodedata.category(one) in _BREAKING for one in name)
    return is_line and not name.startswith(".") and "/" not in name and 0 < len(name) <= _LONGEST_NAME


def make_folder(root: Path, name: str) -> Path:
    """Make a private folder below the root, or return the one that is there. A link in its place is replaced."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = root / name
    if folder.is_symlink():
        folder.unlink()
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def has_job_folder(settings: Settings, job_id: str) -> bool:
    """Return whether a job has files here."""
    return is_id(job_id) and os.path.lexists(settings.files_dir / job_id)


def remove_job_folder(settings: Settings, job_id: str) -> bool:
    """Delete the files of a job; False when some are left. A link in the place of its folder is deleted, not followed."""
    return is_id(job_id) and remove_tree(settings.files_dir / job_id)


def discard_upload(settings: Settings, name: str) -> Path | None:
    """Take an upload's name, without `upload:`, from it; the path of what is to be deleted, None when it is not there.

    Deleting gigabytes takes long. What is not deleted then, the web process deletes when it starts, by this prefix.
    """
    if "/" in name or name.startswith("."):
        return None
    discarded = settings.uploads_dir / f"{UNUSED_PREFIX}{secrets.token_hex(16)}"
    try:
        (settings.uploads_dir / name).rename(discarded)
    except OSError:
        return None
    return discarded


def create_file(folder: Path, name: str) -> BinaryIO:
    """Create a private file for writing. Raises FileExistsError when anything of this name is there."""
    return os.fdopen(os.open(folder / name, _CREATE, 0o600), "wb")


def write_file(folder: Path, name: str, content: bytes) -> None:
    """Write a private file whole or not at all; what had this name before is replaced, a link is not followed."""
    draft = folder / f".{secrets.token_hex(8)}"
    try:
        with create_file(folder, draft.name) as file:
            file.write(content)
        draft.replace(folder / name)
    finally:
        draft.unlink(missing_ok=True)


def _parts(path: str) -> list[str]:
    if path.startswith("/"):
        raise FileRefused("A file is named by its path below the directory that holds it, not by an absolute path.")
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise FileRefused(f"{_shown(path)} is outside the directory that files are read from.")
    if not parts:
        raise FileRefused("A file name is missing.")
    os.fsencode(path)
    return parts


def _resolved(base: str, parts: list[str]) -> list[str]:
    real = os.path.realpath(os.path.join(base, *parts))
    if os.path.commonpath([base, real]) != base:
        raise FileRefused(f"{_shown('/'.join(parts))} is outside the directory that files are read from.")
    inner = os.path.relpath(real, base)
    if inner == ".":
        raise _NotPlain("is not a regular file.")
    return inner.split("/")


def _descend(base: str, parts: list[str]) -> int:
    *folders, name = parts
    with _open_folder(base, folders) as folder:
        # A device is not even opened; what is swapped in after this look is found by the second one.
        _check_plain(os.stat(name, dir_fd=folder, follow_symlinks=False))
        descriptor = os.open(name, _READ, dir_fd=folder)
    try:
        _check_plain(os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def _open_folder(base: str, folders: list[str]) -> Iterator[int]:
    descriptor = os.open(base, _FOLDER)
    try:
        for name in folders:
            inner = os.open(name, _INNER_FOLDER, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


class _NotPlain(OSError):
    """The file is of another kind, or has another name elsewhere."""


def _check_plain(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise _NotPlain("is not a regular file.")
    if status.st_nlink != 1:
        # A second name of a file elsewhere would pass every check of paths.
        raise _NotPlain("has several names (hard links). Copy it instead.")


def _is_plain(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1


def _why(error: OSError) -> str:
    if isinstance(error, _NotPlain):
        return str(error)
    if error.errno in {errno.ELOOP, errno.ENOTDIR}:
        return "is a link that cannot be followed, or changed while it was opened."
    if isinstance(error, FileNotFoundError) or error.errno == errno.ENAMETOOLONG:
        return "does not exist."
    return f"cannot be read: {error.strerror}."


def _shown(path: str) -> str:
    return repr(path if len(path) <= _LONGEST_SHOWN else f"{path[:_LONGEST_SHOWN]}…")
