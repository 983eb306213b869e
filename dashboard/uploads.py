"""Files that people upload for a job: streamed to disk under a name of our own, within a bound."""

from __future__ import annotations

import re
import secrets
from typing import IO

from workers.domain.errors import TooLarge
from workers.services import files
from workers.settings import Settings

MAX_BYTES = 2 * 1024**3
_CHUNK = 1 << 20
_ODD = re.compile(r"[^A-Za-z0-9._-]+")


def save(settings: Settings, stream: IO[bytes], filename: str) -> str:
    """Keep an upload; the `upload:<name>` by which a payload names it. Raises TooLarge, and keeps nothing then."""
    name = f"{secrets.token_hex(6)}-{_ODD.sub('_', filename)[-80:].lstrip('.') or 'file'}"
    settings.uploads_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = settings.uploads_dir / name
    written = 0
    with files.create_file(settings.uploads_dir, name) as file:
        while chunk := stream.read(_CHUNK):
            written += len(chunk)
            if written > MAX_BYTES:
                break
            file.write(chunk)
    if written > MAX_BYTES:
        path.unlink()
        raise TooLarge(
            "A file of more than 2 GiB cannot be uploaded. Put it into the inbox (INBOX_DIR) or at a URL.", "source"
        )
    return f"upload:{name}"
