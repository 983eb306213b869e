"""Write the figures of bench/results into the README's table."""

from __future__ import annotations

import json
from typing import Any

from bench._common import RESULTS, ROOT

BEGIN, END = "<!-- figures: made by `make bench` -->\n", "<!-- /figures -->"
ROWS: tuple[tuple[str, str, str], ...] = (
    (
        "no-op jobs executed by one worker",
        "execute",
        "{taskyard_jobs_per_second:,.0f} a second, {ratio:.1f} × stock RQ",
    ),
    (
        "from enqueuing to the first line of the task, idle worker",
        "latency",
        "p50 {taskyard_p50_ms:.1f} ms, p99 {taskyard_p99_ms:.1f} ms; stock RQ {rq_p50_ms:.0f} ms, {rq_p99_ms:.0f} ms",
    ),
    (
        "enqueue with a durable row, one by one",
        "enqueue",
        "{taskyard_enqueue:,.0f} a second, {ratio:.2f} × RQ without one",
    ),
    (
        "enqueue 1,000 at once, with rows",
        "enqueue",
        "{taskyard_enqueue_many:,.0f} a second, {bulk_ratio:.1f} × RQ without them",
    ),
    (
        "`POST /jobs` and `GET /jobs` over a kept connection",
        "http_calls",
        "p50 {post_jobs_p50_ms:.1f} ms and {get_jobs_p50_ms:.1f} ms",
    ),
    ("a report in a task until it is in the browser", "live", "p50 {quiet_p50_ms:.1f} ms, p99 {quiet_p99_ms:.1f} ms"),
    (
        "… with 50 viewers and 2,000 reports a second",
        "live",
        "p50 {steady_p50_ms:.0f} ms, p99 {steady_p99_ms:.0f} ms",
    ),
    ("… after a burst of 20,000 a second, the last one", "live", "{burst_last_ms:.0f} ms"),
    (
        "Jobs page, 100 rows, 1,000 jobs stored",
        "pages",
        "{page_1000_ms:.0f} ms, deep in the list {page_deep_1000_ms:.0f} ms",
    ),
    (
        "… 1,000,000 jobs stored",
        "pages",
        "{page_1000000_ms:.0f} ms, deep in the list {page_deep_1000000_ms:.0f} ms",
    ),
    (
        "a sweep of the monitor, 1,000,000 jobs stored",
        "monitor",
        "{sweep_ms:.0f} ms; {sweep_10000_stuck_seconds:.1f} s with 10,000 stuck",
    ),
    (
        "retry of 100,000 failed jobs at once",
        "monitor",
        "{retry_100000_seconds:.1f} s, Jobs page meanwhile ≤ {slowest_page_meanwhile_ms:.0f} ms",
    ),
    ("charts of a day with a million jobs", "monitor", "{chart_24h_ms:.0f} ms; roll-ups {roll_ups_mb:.1f} MB"),
    (
        "Schedules page with 10,000 schedules",
        "schedules",
        "{page_ms:.0f} ms; their week of load {week_of_load_first_ms:.0f} ms, kept for a minute",
    ),
    (
        "scheduler with 10,000 schedules, idle",
        "schedules",
        "{idle_percent_of_a_core:.1f} % of a core; 500 due in one second are started in {fire_500_at_once_seconds:.1f} s",
    ),
    ("ready after `make run`", "startup", "{start_seconds:.1f} s"),
    ("memory of everything, idle", "startup", "{idle_pss_mb:.0f} MB"),
)


def main() -> None:
    """Replace what stands between the marks."""
    readme = ROOT / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    readme.write_text(before + BEGIN + table() + END + after, encoding="utf-8")


def table() -> str:
    """Make the table in Markdown."""
    told: dict[str, Any] = {
        path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))
    }
    lines = [f"| {words} | {form.format(**told[name])} |" for words, name, form in ROWS if name in told]
    machine = told["execute"]["machine"]
    return "\n".join([f"| measured on {machine} | |", "|---|---|", *lines, ""])


if __name__ == "__main__":
    main()
