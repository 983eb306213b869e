"""The log on the page of a job and as pages of its own: bounded, harmless, in the viewer's zone, without JavaScript."""

from __future__ import annotations

import re
from typing import Any

import pytest

from workers.running import RunningJob
from workers.services import execution, jobs
from workers.services.enqueueing import NewJob
from workers.services.execution import Ending
from workers.yard import Yard


def written(yard: Yard, *lines: str) -> str:
    """Run a job that logs these lines and ends."""
    made = jobs.enqueue(yard, NewJob("samples.noop", {})).job_id
    row = execution.begin(yard, made, 1, "w")
    assert not isinstance(row, execution.Refused)
    job = RunningJob(yard, row, lambda: None)
    for line in lines:
        job.log.add(line, "info")
    job.flush()
    execution.end(yard, made, 1, Ending("completed"))
    return made


def lines_of(page: str) -> list[str]:
    return re.findall(r'<span class="log__text">(.*?)</span></li>', page)


def test_every_line_is_reached_by_links_alone(auth: Any, light_yard: Yard) -> None:
    job = written(light_yard, *[f"line {n}" for n in range(150)])
    client = auth.client("vera")
    page, found = client.get(f"/jobs/{job}?tab=logs").text, []
    while True:
        found = lines_of(page) + found
        older = re.search(r'data-part="older"><a href="([^"]+)"', page)
        if older is None:
            break
        page = client.get(f"/jobs/{job}{older[1].replace('&amp;', '&')}").text
    assert found == [f"line {n}" for n in range(150)]


def test_hostile_lines_color_text_and_do_nothing_else(auth: Any, light_yard: Yard) -> None:
    hostile = '\x1b[31m<img src=x onerror=alert(1)>\x1b[0m \x1b]0;title\x07 \x1b[31;"onclick=x"mx \u202egnp'
    job = written(light_yard, hostile, "\x1b[1;44mbold\x1b[0m")
    page = auth.client("vera").get(f"/jobs/{job}?tab=logs").text
    assert '<i class="ansi-fg-1">&lt;img src=x onerror=alert(1)&gt;</i>' in page
    assert '<i class="ansi-bg-4 ansi-bold">bold</i>' in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "<img src=x" not in page
    text = auth.client("vera").get(f"/jobs/{job}/logs.txt").text
    assert "\x1b" not in text
    calls = auth.client("vera").get(f"/api/v1/jobs/{job}/logs").get_json()["logs"]
    assert calls[1]["line"] == "bold"


def test_a_page_is_small_whatever_was_logged(auth: Any, light_yard: Yard) -> None:
    job = written(light_yard, *["<&\">'" * 400] * 400)
    client = auth.client("vera")
    assert len(client.get(f"/jobs/{job}?tab=logs").data) <= 40_000
    assert len(client.get(f"/jobs/{job}/log").data) <= 90_000


def test_found_words_are_marked_also_across_colors(auth: Any, light_yard: Yard) -> None:
    job = written(light_yard, "a \x1b[31mred\x1b[0m line", "another")
    page = auth.client("vera").get(f"/jobs/{job}/log?q=ED+LI").text
    assert lines_of(page) == ['a <i class="ansi-fg-1">r</i><mark class="ansi-fg-1">ed</mark><mark> li</mark>ne']


def test_times_are_those_of_the_viewer_and_the_zone_is_named(auth: Any, light_yard: Yard) -> None:
    job = written(light_yard, "now")
    client = auth.client("vera")
    client.set_cookie("zone", "Asia/Kathmandu")
    page = client.get(f"/jobs/{job}?tab=logs").text
    assert "Times in <b>Asia/Kathmandu</b> (UTC+05:45)" in page
    stored = client.get(f"/api/v1/jobs/{job}/logs").get_json()["logs"][0]["at"]
    shown = re.search(r'<time datetime="([^"]+)" title="[^"]+ \+0545">(\d\d:\d\d):', page)
    assert shown is not None
    minutes = (int(stored[11:13]) * 60 + int(stored[14:16]) + 345) % 1440
    assert shown[2] == f"{minutes // 60:02d}:{minutes % 60:02d}"


@pytest.mark.parametrize(
    "query",
    [
        "level=bogus",
        "before=x",
        "after=-1",
        "after=1e9",
        f"q={'x' * 201}",
        "attempt=0x1",
        "before=99999999999999999999",
    ],
)
def test_what_cannot_be_read_is_refused_with_a_reason(auth: Any, light_yard: Yard, query: str) -> None:
    job = written(light_yard, "x")
    client = auth.client("vera")
    for path in (f"/jobs/{job}/log?{query}", f"/jobs/{job}?tab=logs&{query}"):
        assert client.get(path).status_code == 422


def test_three_kinds_of_nothing(auth: Any, light_yard: Yard) -> None:
    client = auth.client("vera")
    ended, waiting = written(light_yard), jobs.enqueue(light_yard, NewJob("samples.noop")).job_id
    assert "This job has no log lines." in client.get(f"/jobs/{ended}?tab=logs").text
    assert "This job has no log lines yet." in client.get(f"/jobs/{waiting}?tab=logs").text
    assert "No lines match this filter." in client.get(f"/jobs/{ended}?tab=logs&q=x").text
