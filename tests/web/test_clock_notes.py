"""What the pages say of clocks that are off or were set."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.conftest import Auth
from workers.domain.clock import utcnow
from workers.domain.evenness import Disturbance, as_json
from workers.store import settings as values
from workers.store import workers as worker_rows
from workers.yard import Yard

PAGES = ["/health", "/workers", "/stuck"]


@pytest.mark.parametrize("page", PAGES)
def test_a_clock_that_was_set_and_a_host_that_is_off_are_shown(auth: Auth, light_yard: Yard, page: str) -> None:
    now = utcnow()
    row = {"name": "w", "host": "<b>web-2</b>", "pid": 1, "queues": '["*"]', "state": "idle", "started_at": now}
    with light_yard.database.write() as connection:
        worker_rows.register(connection, {**row, "heartbeat_at": now, "clock_offset_seconds": 90.0})
        values.put(connection, "clock.disturbance", as_json(Disturbance(now, "clock", 3600.0)), now)
    text = auth.client("vera").get(page).text
    assert "The clock went forward by 1 h." in text
    assert "The clock of &lt;b&gt;web-2&lt;/b&gt; is 1 min 30 s behind the database&#39;s." in text


@pytest.mark.parametrize("page", PAGES)
def test_an_old_jump_is_not_shown_any_more(auth: Auth, light_yard: Yard, page: str) -> None:
    at = utcnow() - timedelta(hours=2)
    with light_yard.database.write() as connection:
        values.put(connection, "clock.disturbance", as_json(Disturbance(at, "clock", 3600.0)), at)
    assert "The clock went" not in auth.client("vera").get(page).text
