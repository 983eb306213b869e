"""Static files, served under names that hold the hash of their content, so that browsers may keep them for a year.

All are read when the process starts and served from memory: a name and its content always belong together, also while an
upgrade replaces the files below a running process. What a file imports or shows is part of its content and so of its hash.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import cast

from flask import Flask, Response, abort, current_app, request, url_for

from dashboard.bundles import BundleError, bundle_scripts, bundle_sheets, resolve
from dashboard.threads import run_in_thread

YEAR_SECONDS = 31_536_000
HASH_LENGTH = 12
_MARK = rf"[0-9a-f]{{{HASH_LENGTH}}}"
_HASHED_NAME = re.compile(rf"(?P<stem>.+)\.(?P<mark>{_MARK})(?P<suffix>\.\w+)")
_URL = re.compile(r"""url\((?P<quote>["']?)(?P<source>(?!data:|#)[^"')]+)(?P=quote)\)""")
_COMPRESSED = {"text/css", "text/javascript", "image/svg+xml", "text/plain", "text/markdown"}


@dataclass(frozen=True)
class StaticFile:
    """One file as it is sent."""

    path: str
    content: bytes

    @cached_property
    def mark(self) -> str:
        """The hash of the content, as it stands in the name."""
        return hashlib.sha256(self.content).hexdigest()[:HASH_LENGTH]

    @cached_property
    def hashed_path(self) -> str:
        """The path with the hash: `js/main.0123456789ab.js`."""
        stem, suffix = posixpath.splitext(self.path)
        return f"{stem}.{self.mark}{suffix}"

    @cached_property
    def media_type(self) -> str:
        """What the content is."""
        guessed = mimetypes.guess_type(self.path)[0] or "application/octet-stream"
        return "text/javascript" if guessed.endswith("javascript") else guessed

    @cached_property
    def compressed(self) -> bytes | None:
        """The content after gzip; None where that would not make it smaller."""
        if self.media_type not in _COMPRESSED:
            return None
        return run_in_thread(_compress, self.content)


class StaticFiles:
    """All files below a folder. Raises BundleError when one imports what cannot be joined with it."""

    def __init__(self, root: Path) -> None:
        self._sources = {
            path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
        }
        self._files: dict[str, StaticFile] = {}
        for path in self._sources:
            self._file(path)

    def url_path(self, path: str) -> str:
        """Return the path, with its hash, of a file or of the bundle that begins with it. KeyError when there is none."""
        return self._file(path).hashed_path

    def find(self, name: str) -> tuple[StaticFile, bool]:
        """Return the file of a requested name, and whether the name holds the hash of its content. KeyError when there is none."""
        match = _HASHED_NAME.fullmatch(name)
        if match is None:
            return self._files[name], False
        file = self._files[match["stem"] + match["suffix"]]
        return file, match["mark"] == file.mark

    def _file(self, path: str) -> StaticFile:
        if path not in self._files:
            self._files[path] = StaticFile(path, self._content(path))
        return self._files[path]

    def _content(self, path: str) -> bytes:
        if path.startswith("vendor/"):
            return self._sources[path]
        if path.endswith(".js"):
            return bundle_scripts(path, self._read, self._relative_to(path)).encode()
        if path.endswith(".css"):
            return self._with_hashed_urls(path, bundle_sheets(path, self._read)).encode()
        return self._sources[path]

    def _read(self, path: str) -> str:
        return self._sources[path].decode()

    def _with_hashed_urls(self, path: str, text: str) -> str:
        relative = self._relative_to(path)
        return _URL.sub(lambda match: f'url("{relative(resolve(path, match["source"]))}")', text)

    def _relative_to(self, base: str) -> Callable[[str], str]:
        def relative(path: str) -> str:
            try:
                hashed = self.url_path(path)
            except KeyError as error:
                raise BundleError(f"{base} names {path}, which does not exist.") from error
            return posixpath.relpath(hashed, posixpath.dirname(base)) if "/" in base else hashed

        return relative


def init(app: Flask, root: Path) -> None:
    """Serve the files of a folder below /static."""
    app.extensions["static_files"] = _read_once(root)
    app.add_url_rule("/static/<path:filename>", endpoint="static", view_func=serve)


@cache
def _read_once(root: Path) -> StaticFiles:
    return StaticFiles(root)


def asset(path: str) -> str:
    """Return the address of a static file, with its hash."""
    return url_for("static", filename=_static_files().url_path(path))


def serve(filename: str) -> Response:
    """Answer a static file: for a year under the name of its hash, else to be asked for again each time."""
    try:
        file, is_exact = _static_files().find(filename)
    except KeyError:
        abort(404)
    content = _accepted(file)
    answer = Response(content, mimetype=file.media_type)
    if file.media_type in _COMPRESSED:
        answer.vary.add("Accept-Encoding")
    if content is not file.content:
        answer.content_encoding = "gzip"
    answer.set_etag(f"{file.mark}{'-gzip' if content is not file.content else ''}")
    # A page of another version asks for names that this process does not know: it gets what there is, for once.
    answer.headers["Cache-Control"] = f"public, max-age={YEAR_SECONDS}, immutable" if is_exact else "no-cache"
    return cast(Response, answer.make_conditional(request))


def _accepted(file: StaticFile) -> bytes:
    if not request.accept_encodings["gzip"] or file.compressed is None:
        return file.content
    return file.compressed


def _compress(content: bytes) -> bytes | None:
    compressed = gzip.compress(content, 9, mtime=0)
    return compressed if len(compressed) < len(content) else None


def _static_files() -> StaticFiles:
    return cast(StaticFiles, current_app.extensions["static_files"])
