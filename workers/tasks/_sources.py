"""Where a dataset comes from: an upload, a path under DATA_DIR, or a URL; plain, gzipped or zipped. Always a file in the end."""

from __future__ import annotations

import codecs
import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import httpx

from workers.broker import outgoing
from workers.settings import Settings
from workers.task import Reject, check_canceled, log, step

MAX_BYTES = 2 * 1024**3
_CHUNK = 1 << 20


class Dataset:
    """A table as bytes, opened anew for each pass."""

    def __init__(self, path: Path, name: str) -> None:
        self._path, self.name = path, name

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Open it, unpacked. Raises Reject for what cannot be unpacked."""
        try:
            if self.name.lower().endswith(".zip"):
                with zipfile.ZipFile(self._path) as archive, archive.open(_member(archive)) as file:
                    yield file
            elif self.name.lower().endswith(".gz"):
                with gzip.open(self._path) as packed:
                    yield packed  # type: ignore[misc]
            else:
                with self._path.open("rb") as plain:
                    yield plain
        except (zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise Reject(f"{self.name} cannot be unpacked: {error}. Is it whole, and what its name says?") from error

    def survey(self) -> tuple[int, str]:
        """Read it once: how many lines it has and in which encoding it is. Raises Reject above 2 GiB."""
        lines = size = 0
        encoding = "utf-8-sig"
        decoder = codecs.getincrementaldecoder("utf-8")()
        last = b"\n"
        with self.open() as file:
            while chunk := file.read(_CHUNK):
                check_canceled()
                size += len(chunk)
                if size > MAX_BYTES:
                    raise Reject("Unpacked it is larger than 2 GiB. Split it.")
                lines += chunk.count(b"\n")
                last = chunk[-1:]
                if encoding != "latin-1":
                    try:
                        decoder.decode(chunk)
                    except UnicodeDecodeError:
                        encoding = "latin-1"
        return lines + (last != b"\n"), encoding


def fetch(source: str, settings: Settings, folder: Path) -> Dataset:
    """Find or download a dataset. Raises Reject with what to do."""
    if source.startswith(("http://", "https://")):
        return _download(source, settings, folder)
    root = settings.uploads_dir if source.startswith("upload:") else settings.data_dir
    path = (root / source.removeprefix("upload:")).resolve()
    if not path.is_relative_to(root.resolve()):
        raise Reject(f"{source} lies outside of DATA_DIR. Put the file there, or upload it.")
    if not path.is_file():
        raise Reject(f"There is no file {source}. Upload it, or name a path under DATA_DIR.")
    if path.stat().st_size == 0:
        raise Reject("The file is empty.")
    return Dataset(path, path.name)


def _download(url: str, settings: Settings, folder: Path) -> Dataset:
    step("download")
    path = folder / ".download"
    try:
        with outgoing.stream("GET", url, allow_private=settings.allow_private_http) as answer:
            if 400 <= answer.status_code < 500:
                raise Reject(f"{url} answers {answer.status_code}. Check the address.")
            answer.raise_for_status()
            written = _write(answer, path)
    except outgoing.Refused as error:
        raise Reject(str(error)) from error
    log(f"downloaded {written:,} bytes")
    if not written:
        raise Reject("The file is empty.")
    name = httpx.URL(url).path.rpartition("/")[2] or "data.csv"
    return Dataset(path, name)


def _write(answer: httpx.Response, path: Path) -> int:
    written = 0
    with path.open("wb") as file:
        for chunk in answer.iter_raw():
            check_canceled()
            written += len(chunk)
            if written > MAX_BYTES:
                raise Reject("It is larger than 2 GiB.")
            file.write(chunk)
    return written


def _member(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    found = [one for one in archive.infolist() if one.filename.lower().endswith((".csv", ".tsv", ".txt"))]
    found = [one for one in found if not one.filename.startswith("__MACOSX")]
    if len(found) != 1:
        raise Reject(f"The zip must hold one CSV file; it holds {len(found)}.")
    if found[0].file_size > MAX_BYTES:
        raise Reject("Unpacked it is larger than 2 GiB. Split it.")
    if found[0].flag_bits & 1:
        raise Reject("The zip is locked with a password.")
    return found[0]


def text_of(file: IO[bytes], encoding: str) -> io.TextIOWrapper:
    """Read bytes as text."""
    return io.TextIOWrapper(file, encoding=encoding, errors="replace", newline="")
