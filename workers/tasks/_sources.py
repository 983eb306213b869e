"""Sources of datasets: an upload, a path in the inbox, or a URL; plain, gzipped or zipped. Always a file in the end."""

from __future__ import annotations

import codecs
import gzip
import io
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO, cast

import httpx

from workers.broker import outgoing
from workers.services import files
from workers.settings import Settings
from workers.task import Reject, check_canceled, job_files, log, step

MAX_BYTES = 2 * 1024**3
DOWNLOAD_SECONDS = 2 * 3600.0
_CHUNK = 1 << 20


class Dataset:
    """A table as bytes, read from its start in each pass; the file stays open, so every pass reads the same one."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self.name = file, name

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Open it, unpacked. Raises Reject for what cannot be unpacked."""
        self._file.seek(0)
        try:
            if self.name.lower().endswith(".zip"):
                with zipfile.ZipFile(self._file) as archive, archive.open(_member(archive)) as file:
                    yield file
            elif self.name.lower().endswith(".gz"):
                with gzip.open(self._file) as packed:
                    yield packed  # type: ignore[misc]
            else:
                yield self._file
        except (zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise Reject(
                f"{self.name} cannot be unpacked: {error}. Check that the file is complete and has the right extension."
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

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
                    raise Reject("The unpacked file is larger than 2 GiB. Split it.")
                lines += chunk.count(b"\n")
                last = chunk[-1:]
                if encoding != "latin-1":
                    try:
                        decoder.decode(chunk)
                    except UnicodeDecodeError:
                        encoding = "latin-1"
        return lines + (last != b"\n"), encoding


def fetch(source: str, settings: Settings) -> Dataset:
    """Open or download a dataset. Raises Reject with what to do."""
    if source.startswith(("http://", "https://")):
        return _download(source, settings)
    try:
        file, name = files.open_source(settings, source)
    except files.FileRefused as error:
        raise Reject(f"{error} Upload the file, or put it in the inbox (INBOX_DIR) and use its path there.") from error
    if os.fstat(file.fileno()).st_size == 0:
        file.close()
        raise Reject("The file is empty.")
    return Dataset(file, name)


def _download(url: str, settings: Settings) -> Dataset:
    step("download")
    # It has no name, so nobody can list it and nothing is left of it when the job ends, however it ends.
    file = tempfile.TemporaryFile(dir=job_files())  # noqa: SIM115 - the dataset closes it
    try:
        with outgoing.stream(
            "GET", url, allow_private=settings.allow_private_http, total_seconds=DOWNLOAD_SECONDS
        ) as answer:
            if 400 <= answer.status_code < 500:
                raise Reject(f"{url} answers {answer.status_code}. Check the address.")
            answer.raise_for_status()
            written = _write(answer, file)
    except outgoing.Refused as error:
        raise Reject(str(error)) from error
    log(f"downloaded {written:,} bytes")
    if not written:
        raise Reject("The file is empty.")
    name = httpx.URL(url).path.rpartition("/")[2] or "data.csv"
    return Dataset(cast(BinaryIO, file), name)


def _write(answer: httpx.Response, file: IO[bytes]) -> int:
    written = 0
    for chunk in outgoing.iter_decoded(answer):
        check_canceled()
        written += len(chunk)
        if written > MAX_BYTES:
            raise Reject("The file is larger than 2 GiB.")
        file.write(chunk)
    return written


def _member(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    found = [one for one in archive.infolist() if one.filename.lower().endswith((".csv", ".tsv", ".txt"))]
    found = [one for one in found if not one.filename.startswith("__MACOSX")]
    if len(found) != 1:
        raise Reject(f"The zip must hold one CSV file; it holds {len(found)}.")
    if found[0].file_size > MAX_BYTES:
        raise Reject("The unpacked file is larger than 2 GiB. Split it.")
    if found[0].flag_bits & 1:
        raise Reject("The zip is protected by a password.")
    return found[0]


def text_of(file: IO[bytes], encoding: str) -> io.TextIOWrapper:
    """Read bytes as text."""
    return io.TextIOWrapper(file, encoding=encoding, errors="replace", newline="")
