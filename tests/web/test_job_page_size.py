"""A page of a job is small whatever the job holds, and all of it is there on demand."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import update

from workers.services import execution, jobs
from workers.services.enqueueing import NewJob
from workers.services.execution import Ending
from workers.store.jobs import JOBS
from workers.yard import Yard

LIMIT = 40_000
HOSTILE = "<&\">'ß" * 100


def ended(yard: Yard, payload: dict[str, Any], **ending: Any) -> str:
    made = jobs.enqueue(yard, NewJob("samples.noop", max_retries=0)).job_id
    with yard.database.write() as connection:  # no sample takes this much
        connection.execute(update(JOBS).where(JOBS.c.id == made).values(payload=json.dumps(payload)))
    execution.begin(yard, made, 1, "w")
    execution.end(yard, made, 1, Ending(**ending))
    return made


@pytest.mark.parametrize("tab", ["payload", "result", "error", "logs", "attempts", "events"])
def test_a_page_is_small_whatever_the_job_holds(auth: Any, light_yard: Yard, tab: str) -> None:
    frame = f'  File "/srv/app/{HOSTILE[:90]}.py", line 1, in <{"n" * 80}>\n    raise ValueError("{HOSTILE[:200]}")\n'
    job = ended(
        light_yard,
        {"rows": [HOSTILE] * 1_200},
        outcome="failed",
        result=json.dumps([HOSTILE] * 1_500),
        error=HOSTILE * 10,
        traceback="Traceback (most recent call last):\n" + frame * 150,
    )
    page = auth.client("ada").get(f"/jobs/{job}?tab={tab}")
    assert page.status_code == 200
    assert len(page.data) <= LIMIT


def test_all_of_a_text_is_loaded_on_demand_and_masked(auth: Any, light_yard: Yard) -> None:
    payload = {"rows": ["x" * 100] * 2_000, "password": "hunter22"}
    job = ended(light_yard, payload, outcome="completed", result=json.dumps({"a": 1}))
    client = auth.client("vera")
    page = client.get(f"/jobs/{job}?tab=payload").text
    assert f'href="/jobs/{job}/text?part=payload"' in page
    whole = json.loads(client.get(f"/jobs/{job}/text?part=payload").text)
    assert whole == {**payload, "password": "••••••"}
    assert client.get(f"/jobs/{job}/text?part=result").get_data(as_text=True) == '{\n  "a": 1\n}'
    assert client.get(f"/jobs/{job}/text?part=traceback").text == ""
    refused = client.get(f"/jobs/{job}/text?part=error")
    assert refused.status_code == 422
    small = client.get(f"/jobs/{job}?tab=result").text
    assert "Show all" not in small


def test_only_a_running_job_is_headed_by_a_percentage(auth: Any, light_yard: Yard) -> None:
    progress = {"done": 95, "total": 100, "progress": 95.0}
    failed = ended(light_yard, {}, outcome="failed", error="boom", progress=progress)
    page = auth.client("vera").get(f"/jobs/{failed}").text
    assert '<p class="progress__end">Failed</p>' in page
    assert "<dt>Progress</dt><dd>95.0 %</dd>" in page
    skipped = ended(light_yard, {}, outcome="skipped", error="not needed", progress={**progress, "progress": 100.0})
    page = auth.client("vera").get(f"/jobs/{skipped}").text
    assert '<p class="progress__end">Skipped</p>' in page
    assert "100.0" not in page.split('class="progress"')[1].split("</section>")[0].split("<svg")[0]
