"""Datasets: every column of a CSV analysed in one streaming pass."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any, TextIO

from pydantic import Field

from workers.services import files
from workers.task import Reject, current_settings, job_files, log, progress, step, task
from workers.tasks import _report, _sources
from workers.tasks._columns import Column

MAX_COLUMNS = 2_000
MAX_CELL = 1_000_000
MAX_LINE = 16_000_000
EXAMPLES = 100
_SNIFFED = 64_000


@task(queue="datasets", max_retries=2, timeout_seconds=7200)
def process(
    source: Annotated[
        str,
        Field(
            min_length=1,
            max_length=2000,
            description="An upload, an http(s) address, or a path in the inbox (INBOX_DIR): .csv, .csv.gz or .zip.",
            json_schema_extra={"format": "taskyard-source"},
        ),
    ],
    delimiter: Annotated[str | None, Field(max_length=1, description="Field separator; detected if empty.")] = None,
    chunk_size: Annotated[int, Field(ge=1, le=100_000, description="Records per chunk.")] = 1000,
) -> dict[str, Any]:
    """Analyse every column of a CSV file and create a report as HTML and JSON."""
    start = time.monotonic()
    dataset = _sources.fetch(source, current_settings())
    try:
        table = _read(dataset, delimiter, chunk_size)
    finally:
        dataset.close()
    seconds = time.monotonic() - start
    log(f"read {table.records:,} records of {len(table.names)} columns in {seconds:.1f} s")
    result = table.summary()
    step("report")
    _write_reports(dataset.name, result, seconds)
    progress(table.records, table.records, "report written")
    return {**result, "report_html": "report.html", "report_json": "report.json"}


def _read(dataset: _sources.Dataset, delimiter: str | None, chunk_size: int) -> _Table:
    step("count")
    lines, encoding = dataset.survey()
    if encoding == "latin-1":
        log("The file is not UTF-8; it is read as Latin-1.", "warning")
    step("analyse")
    with dataset.open() as file:
        text = _sources.text_of(file, encoding)
        table = _Table(text, delimiter or None)
        table.read(chunk_size, max(lines - 1, 0))
        text.detach()
    return table


def _write_reports(name: str, result: dict[str, Any], seconds: float) -> None:
    """Write both reports or none, so that a job that fails leaves no half of them."""
    contents = {
        "report.json": json.dumps(result, indent=2, ensure_ascii=False),
        "report.html": _report.html(name, result, seconds),
    }
    folder = job_files()
    try:
        for file_name, content in contents.items():
            files.write_file(folder, file_name, content.encode(errors="replace"))
    except BaseException:
        for file_name in contents:
            (folder / file_name).unlink(missing_ok=True)
        raise


class _Table:
    """A table being read."""

    def __init__(self, text: TextIO, delimiter: str | None) -> None:
        csv.field_size_limit(MAX_CELL)
        self._lines = _Lines(text)
        head = self._lines.peek()
        if not head.strip():
            raise Reject("The file has no header line.")
        self._reader = csv.reader(self._lines, delimiter=delimiter or _sniff(head))
        header = next(self._reader, [])
        if len(header) > MAX_COLUMNS:
            raise Reject(f"The file has {len(header):,} columns; at most {MAX_COLUMNS:,} are supported.")
        self.names = _names(header)
        self._columns = [Column() for _ in self.names]
        self.records = self.rejected = 0
        self._examples: list[dict[str, Any]] = []

    def read(self, chunk_size: int, expected: int) -> None:
        """Read everything, a chunk at a time."""
        rows = self._rows()
        while chunk := list(islice(rows, chunk_size)):
            for column, values in zip(self._columns, zip(*chunk, strict=True), strict=True):
                column.add(values)
            self.records += len(chunk)
            # Lines are counted beforehand; fields with line breaks make fewer records of them.
            progress(self.records, max(expected, self.records), f"{self.rejected:,} rejected" if self.rejected else "")

    def summary(self) -> dict[str, Any]:
        """Tell the result."""
        columns = {name: column.summary() for name, column in zip(self.names, self._columns, strict=True)}
        told: dict[str, Any] = {"records": self.records, "columns": columns}
        if self.rejected:
            told["rejected"] = {"count": self.rejected, "examples": self._examples}
        return told

    def _rows(self) -> Iterator[list[str]]:
        width = len(self.names)
        while True:
            try:
                row = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                self._reject(str(error))
                continue
            if self._lines.take_cut():
                self._reject(f"a line of more than {MAX_LINE:,} characters")
            elif len(row) == width:
                yield row
            elif row:
                self._reject(f"{len(row)} fields, expected {width}")

    def _reject(self, why: str) -> None:
        self.rejected += 1
        if len(self._examples) < EXAMPLES:
            self._examples.append({"line": self._reader.line_num, "error": why})
            if len(self._examples) <= 20:
                log(f"line {self._reader.line_num:,}: {why}; skipped", "warning")


class _Lines:
    """Lines of a text, none longer than the bound, so that a file without line ends cannot fill the memory."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._peeked: str | None = None
        self._was_cut = False

    def peek(self) -> str:
        """Look at the first line."""
        self._peeked = self._text.readline(MAX_LINE)
        return self._peeked

    def take_cut(self) -> bool:
        """Tell whether a line was cut since the last call."""
        was, self._was_cut = self._was_cut, False
        return was

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._peeked if self._peeked is not None else self._text.readline(MAX_LINE)
        self._peeked = None
        if not line:
            raise StopIteration
        if len(line) >= MAX_LINE and not line.endswith("\n"):
            self._was_cut = True
            while (rest := self._text.readline(MAX_LINE)) and not rest.endswith("\n"):
                pass
            return "\n"
        return line


def _sniff(head: str) -> str:
    counts = {mark: head[:_SNIFFED].count(mark) for mark in ",;\t|"}
    best = max(counts, key=lambda mark: counts[mark])
    return best if counts[best] else ","


def _names(header: list[str]) -> list[str]:
    names: list[str] = []
    seen: set[str] = set()
    for number, raw in enumerate(header, 1):
        name = wanted = raw.strip()[:200] or f"column_{number}"
        suffix = 2
        while name in seen:
            name, suffix = f"{wanted}_{suffix}", suffix + 1
        seen.add(name)
        names.append(name)
    return names
