"""The health page's charts: each is a table of numbers that the script draws, so that it reads without one too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from dashboard.presenters import words
from workers.services.history import Span

Value = float | int | None


@dataclass(frozen=True, slots=True)
class Cell:
    """One number of a chart: what the script draws, and the words that people read; both empty when nothing was measured."""

    value: str
    words: str


@dataclass(frozen=True, slots=True)
class Column:
    """One line or stack of a chart; the marks say how it is drawn."""

    label: str
    state: str = ""
    marks: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart and the table that it is drawn from."""

    id: str
    title: str
    note: str
    form: str  # stack, lines
    columns: Sequence[Column]
    rows: Sequence[tuple[datetime, Sequence[Cell]]]
    options: Mapping[str, str]
    now: str = ""
    long: bool = False  # whether it shows several days

    @property
    def limits(self) -> str:
        """The limits that are drawn, in words; empty without any."""
        values = [float(value) for value in self.options.get("limits", "").split()]
        shown = ", ".join(in_words(value, self.options.get("unit", "n")) for value in values)
        return f"limit{'s' if len(values) > 1 else ''} {shown}" if values else ""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw: bars of no height, lines without a value. A line of zeros is drawn."""
        nothing = {"", "0"} if self.form == "stack" else {""}
        return all(cell.value in nothing for _, cells in self.rows for cell in cells)

    @property
    def emptiness(self) -> str:
        """Why there is nothing to draw."""
        return "No jobs ended in this period." if self.form == "stack" else "No measurements in this period."


def in_words(value: Value, unit: str) -> str:
    """Write a number of a chart for people, with its unit: n, s, ms, MB (a million bytes) or %."""
    if value is None:
        return ""
    if unit == "s":
        return words.span(value)
    if unit == "ms":
        return words.span(value / 1000)
    if unit == "MB":
        return words.size(value * 1e6)
    return words.percent(value) if unit == "%" else words.number(value)


def summary(ended: Sequence[Mapping[str, int]]) -> tuple[int, float | None]:
    """Tell how many jobs ended and how many percent of them completed."""
    completed, failed = sum(one["completed"] for one in ended), sum(one["failed"] for one in ended)
    total = completed + failed
    return total, 100 * completed / total if total else None


def jobs(
    span: Span,
    ended: Sequence[Mapping[str, int]],
    measured: Mapping[str, Sequence[Sequence[Value]]],
    success_limits: Sequence[float] = (),
) -> dict[str, Chart]:
    """Make the four charts of jobs; the limits are shares of completed jobs in percent."""
    shares = [
        100 * one["completed"] / (one["completed"] + one["failed"]) if one["completed"] + one["failed"] else None
        for one in ended
    ]
    return {
        "throughput": _chart(
            span,
            "throughput",
            "Throughput",
            f"jobs per {bucket_words(span)}; failures below the axis",
            "stack",
            [
                Column("Completed", "completed", {"fill": "soft"}),
                Column("Will retry", "retry_scheduled", {"fill": "rising"}),
                Column("Failed", "failed", {"below": ""}),
                Column("Canceled", "canceled", {"below": "", "fill": "dots"}),
            ],
            [[one["completed"], one["retried"], one["failed"], one["canceled"]] for one in ended],
        ),
        "success": _chart(
            span,
            "success",
            "Success",
            "of all ended jobs",
            "lines",
            [Column("Success", "completed")],
            [[share] for share in shares],
            {"unit": "%", "min": "0", "max": "101", **_limits(success_limits)},
        ),
        "wait": _durations(span.measured, "wait", "Wait", "from due time to start", "pending", measured["wait"]),
        "run": _durations(span.measured, "run", "Duration", "of one attempt", "processing", measured["run"]),
    }


def machine(
    span: Span,
    numbers: Sequence[Mapping[str, Value]],
    newest: Mapping[str, Value],
    limits: Mapping[str, Sequence[float]] | None = None,
) -> list[Chart]:
    """Make the charts of what the monitor measures, with the limits of rules; what it never measured is left out.

    `newest` is the last measurement: a bucket holds the mean of its measurements, which is no present value.
    """

    def one(name: str, title: str, unit: str, factor: float = 1.0, **options: str) -> Chart:
        values: list[list[Value]] = [[None if row[name] is None else float(row[name] or 0) * factor] for row in numbers]
        last = newest.get(name)
        shown = "–" if last is None else in_words(last * factor, unit)
        return _chart(
            span,
            name,
            title,
            "",
            "lines",
            [Column(title, "", {"weight": "1.5"})],
            values,
            {"unit": unit, **options, **_limits((limits or {}).get(name, ()))},
            shown,
        )

    charts = [
        one("queue_length", "Waiting jobs", "n"),
        one("oldest_wait_seconds", "Oldest wait", "s"),
        one("workers_busy", "Workers busy", "n"),
        one("cpu_percent", "CPU", "%", min="0", max="100"),
        one("memory_percent", "Memory", "%", min="0", max="100"),
        one("disk_percent", "Disk", "%", min="0", max="100"),
        one("database_bytes", "Database", "MB", 1e-6),
        one("probe_ms", "Probe", "ms"),
    ]
    return [chart for chart in charts if not chart.is_empty]


def _limits(values: Sequence[float]) -> dict[str, str]:
    """Return the option that draws limits; none without any."""
    return {"limits": " ".join(f"{value:g}" for value in values)} if values else {}


def bucket_words(span: Span) -> str:
    """Say how long a bucket is."""
    return words.span(span.step * 60)


def _durations(span: Span, name: str, title: str, note: str, state: str, values: Sequence[Sequence[Value]]) -> Chart:
    columns = [
        Column("p50", state, {"weight": "1.5", "dash": "none"}),
        Column("p95", state, {"weight": "2"}),
        Column("p99", state, {"weight": "1"}),
    ]
    return _chart(span, name, title, note, "lines", columns, values, {"unit": "s", "scale": "log"})


def _chart(
    span: Span,
    name: str,
    title: str,
    note: str,
    form: str,
    columns: Sequence[Column],
    values: Sequence[Sequence[Value]],
    options: Mapping[str, str] | None = None,
    now: str = "",
) -> Chart:
    unit = (options or {}).get("unit", "n")
    rows = [
        (span.moment(minute), [_cell(value, unit) for value in row])
        for minute, row in zip(span.starts, values, strict=True)
    ]
    is_long = span.last - span.first > 3 * 1440
    return Chart(name, title, note, form, columns, rows, options or {}, now, is_long)


def _cell(value: Value, unit: str) -> Cell:
    number = "" if value is None else f"{value:.6g}"
    return Cell(number, in_words(value, unit))
