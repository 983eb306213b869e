"""Datasets: exact against oracles that compute with fractions; hostile files end cleanly."""

from __future__ import annotations

import csv
import gzip
import io
import math
import statistics
import zipfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.task import Reject
from workers.tasks import datasets
from workers.tasks._columns import MOST_DISTINCT, Column


@pytest.fixture(autouse=True)
def data_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    return inbox


def process(folder: Path, content: bytes | str, name: str = "t.csv", **options: Any) -> dict[str, Any]:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return datasets.process(name, **options)


# Squares of values below 1e-100 leave the range of floats: no file that people keep has them.
FLOATS = st.floats(-1e9, 1e9).filter(lambda value: value == 0 or abs(value) > 1e-100)


@given(st.lists(st.one_of(st.integers(-(10**12), 10**12), FLOATS), min_size=2, max_size=300))
def test_means_and_spreads_are_exact_to_a_billionth(values: list[float]) -> None:
    column = Column()
    for start in range(0, len(values), 7):
        column.add([repr(value) for value in values[start : start + 7]])
    told = column.summary()
    exact = sum(map(Fraction, values)) / len(values)
    # Where values cancel, a billionth of the values themselves is all that floats can carry.
    scale = max(*(abs(value) for value in values), 1e-300)
    assert abs(told["mean"] - float(exact)) <= 1e-9 * scale
    assert told["count"] == len(values)
    spread = statistics.stdev(map(Fraction, values))
    assert math.isclose(told["stddev"], float(spread), rel_tol=1e-9, abs_tol=1e-9 * scale)


def test_a_column_with_very_many_values_is_as_exact() -> None:
    column = Column()
    values = [str(n * 7 + 0.5) for n in range(3 * MOST_DISTINCT)]
    for start in range(0, len(values), 1000):
        column.add(values[start : start + 1000])
    told = column.summary()
    assert "distinct" not in told
    assert told["mean"] == pytest.approx(float(sum(map(Fraction, values)) / len(values)), rel=1e-12)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "NA", "-3", ""], "integer"),
        (["1", "2.5"], "number"),
        (["true", "False"], "boolean"),
        (["2013-01-01"], "date"),
        (["2013-01-01T05:00:00Z", "2013-01-01"], "datetime"),
        (["1", "x"], "text"),
        (["nan"], "text"),
        (["", "NA", "null"], "empty"),
    ],
)
def test_the_type_is_what_all_values_are(values: list[str], kind: str) -> None:
    column = Column()
    column.add(values)
    assert column.summary()["type"] == kind


def test_missing_values_are_counted_not_averaged(data_dir: Path) -> None:
    told = process(data_dir, "a,b\n1,x\nNA,\n3,null\n")
    assert told["records"] == 3
    assert (told["columns"]["a"]["count"], told["columns"]["a"]["missing"], told["columns"]["a"]["mean"]) == (2, 1, 2.0)
    assert (told["columns"]["b"]["count"], told["columns"]["b"]["missing"]) == (1, 2)


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.zip"])
def test_plain_gzipped_and_zipped_give_the_same(data_dir: Path, name: str) -> None:
    text = "a,b\n" + "".join(f"{n},{n * n}\n" for n in range(5000))
    raw = text.encode()
    if name.endswith(".gz"):
        raw = gzip.compress(raw)
    elif name.endswith(".zip"):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("inner.csv", raw)
        raw = packed.getvalue()
    told = process(data_dir, raw, name)
    assert (told["records"], told["columns"]["b"]["max"]) == (5000, 4999**2)


def test_ragged_records_are_left_out_and_named(data_dir: Path) -> None:
    told = process(data_dir, 'a,b\n1,2\n1,2,3\n"x\ny",5\n4\n')
    assert told["records"] == 2
    assert told["rejected"]["count"] == 2
    assert told["rejected"]["examples"][0] == {"line": 3, "error": "3 fields, expected 2"}


def test_a_huge_cell_costs_its_record_only(data_dir: Path) -> None:
    told = process(data_dir, "a,b\n1,2\n" + "x" * 10_000_000 + ",3\n4,5\n")
    assert (told["records"], told["rejected"]["count"]) == (2, 1)


def test_a_byte_order_mark_and_latin_1_are_read(data_dir: Path) -> None:
    assert list(process(data_dir, "\ufeffname\nx\n".encode())["columns"]) == ["name"]
    assert process(data_dir, "name\ncaf\xe9\n".encode("latin-1"))["columns"]["name"]["min"] == "café"


def test_names_are_made_unique(data_dir: Path) -> None:
    assert list(process(data_dir, "a,a,,\n1,2,3,4\n")["columns"]) == ["a", "a_2", "column_3", "column_4"]


@pytest.mark.parametrize(
    ("content", "name", "why"),
    [
        (b"", "t.csv", "empty"),
        (b"\n\n", "t.csv", "no header"),
        (b"no zip", "t.zip", "cannot be unpacked"),
        (gzip.compress(b"a\n1\n" * 9000, mtime=0)[:-20], "t.csv.gz", "cannot be unpacked"),
    ],
)
def test_files_that_cannot_be_read_end_with_what_to_do(data_dir: Path, content: bytes, name: str, why: str) -> None:
    with pytest.raises(Reject, match=why):
        process(data_dir, content, name)


@pytest.mark.parametrize("source", ["../../etc/passwd", "/etc/passwd", "upload:../taskyard.db", "nothing.csv"])
def test_nothing_outside_of_the_folder_can_be_read(source: str) -> None:
    with pytest.raises(Reject):
        datasets.process(source)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/x.csv", "http://169.254.169.254/", "http://[::1]/", "http://0x7f.1/"]
)
def test_private_addresses_are_refused(url: str) -> None:
    with pytest.raises(Reject, match="private or loopback"):
        datasets.process(url)


def test_the_report_is_inert(data_dir: Path) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    out = io.StringIO()
    csv.writer(out).writerows([[hostile], [hostile]])
    from workers.tasks import _report

    told = process(data_dir, out.getvalue())
    assert hostile not in _report.html(hostile, told, 1.0)
