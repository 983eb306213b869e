"""Files that people upload for a job: streamed to a private directory, within limits, and renamed when they are whole.

What waits for the disk runs in threads: a disk that is slow or full of work holds up nobody but those who upload.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, ClassVar

from dashboard.threads import pool
from workers.domain.errors import TooLarge, Unavailable
from workers.services import files
from workers.settings import Settings

MAX_BYTES = 2 * 1024**3
MAX_INCOMING = 16  # files that arrive at the same time in one web process
FREE_BYTES = 256 * 1024**2  # of the disk, that uploads leave to others
LEFT_OVER_SECONDS = 86_400.0
_CHUNK = 1 << 20
_CHECK_BYTES = 64 * 1024**2
_ODD = re.compile(r"[^A-Za-z0-9._-]+")
_TOO_LARGE = "A file of more than 2 GiB cannot be uploaded. Put it in the inbox (INBOX_DIR) or at a URL."
_NO_SPACE = "The disk has too little free space for this upload. Free some space, or delete old jobs and their files."


class IncomingFile:
    """A file that is arriving; it is deleted when it is closed, unless it was kept."""

    _open: ClassVar[set[IncomingFile]] = set()

    def __init__(self, settings: Settings, announced_bytes: int = 0) -> None:
        """Create the file. Raises Unavailable when too many arrive, or when the disk has no room."""
        if len(self._open) >= MAX_INCOMING:
            raise Unavailable("Too many files are being uploaded. Try again in a few minutes.")
        folder = settings.uploads_dir
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_space(folder, announced_bytes)
        self._path = folder / f"{files.UNUSED_PREFIX}{secrets.token_hex(16)}"
        self._file = files.create_file(folder, self._path.name)
        self._buffer = bytearray()
        self._size = self._checked_size = 0
        self._open.add(self)

    def write(self, data: Any) -> int:
        """Append data. Raises TooLarge and Unavailable."""
        self._size += len(data)
        if self._size > MAX_BYTES:
            raise TooLarge(_TOO_LARGE, "source")
        if self._size - self._checked_size > _CHECK_BYTES:
            _check_space(self._path.parent, 0)
            self._checked_size = self._size
        self._buffer += data
        if len(self._buffer) >= _CHUNK:
            self._flush()
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move in the file."""
        self._flush()
        return self._file.seek(offset, whence)

    def keep_as(self, name: str) -> None:
        """Make the file an upload of this name."""
        self._flush()
        pool("files").run(self._file.close)
        os.rename(self._path, self._path.with_name(name))
        self._open.discard(self)

    def close(self) -> None:
        """Delete the file, unless it was kept."""
        if self in self._open:
            pool("files").run(self._delete)
            self._open.discard(self)

    def _flush(self) -> None:
        """Write what has arrived, in a thread: what comes meanwhile waits in the connection."""
        data, self._buffer = self._buffer, bytearray()
        if data:
            pool("files").run(self._file.write, data)

    def _delete(self) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)


def save(settings: Settings, stream: IO[bytes] | IncomingFile, filename: str) -> str:
    """Keep an upload; the `upload:<name>` by which a payload names it. Raises TooLarge, and keeps nothing then."""
    name = f"{secrets.token_hex(6)}-{_ODD.sub('_', filename)[-80:].lstrip('.') or 'file'}"
    if isinstance(stream, IncomingFile):
        stream.keep_as(name)
        return f"upload:{name}"
    incoming = IncomingFile(settings)
    try:
        while chunk := stream.read(_CHUNK):
            incoming.write(chunk)
        incoming.keep_as(name)
    finally:
        incoming.close()
    return f"upload:{name}"


def remove(settings: Settings, sources: Iterable[str]) -> None:
    """Delete uploads by the names that `save` returned, because no job was made for them."""
    for source in sources:
        (settings.uploads_dir / source.removeprefix("upload:")).unlink(missing_ok=True)


def remove_left_over(settings: Settings) -> None:
    """Delete what an earlier process was receiving when it ended; younger files may be another process's."""
    before = time.time() - LEFT_OVER_SECONDS
    for path in settings.uploads_dir.glob(f"{files.UNUSED_PREFIX}*"):
        if path.lstat().st_mtime < before:
            path.unlink(missing_ok=True)


def _check_space(folder: Path, announced_bytes: int) -> None:
    if shutil.disk_usage(folder).free < announced_bytes + FREE_BYTES:
        raise Unavailable(_NO_SPACE)
