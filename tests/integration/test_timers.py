"""Timers in a real Valkey: carried, moved, dropped, fired once, and a bad one leaves the others alone."""

from __future__ import annotations

import json
import subprocess
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from redis import Redis
from rq_scheduler import Scheduler

from tests.support import eventually
from workers.broker.connection import connect
from workers.broker.embedded import EmbeddedValkey
from workers.broker.names import RedisNames
from workers.broker.timers import Timers, running_schedulers
from workers.domain.errors import Unavailable
from workers.processes import home
from workers.settings import Settings

NAMES = RedisNames(lambda: "0a1b")
NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Run an embedded server of this module's own."""
    settings = home.settle(Settings.from_env({"DATA_DIR": str(tmp_path_factory.mktemp("timers"))}))
    valkey = EmbeddedValkey(settings)
    valkey.prepare()
    process = subprocess.Popen(valkey.command())

    def is_up() -> None:
        assert valkey.answers()

    eventually(is_up, within=10)
    yield settings
    process.terminate()
    process.wait(60)


@pytest.fixture
def redis(server: Settings) -> Iterator[Redis]:
    client = connect(server, NAMES)
    client.flushall()
    yield client
    client.close()


class Heard:
    """Hears what fires."""

    def __init__(self) -> None:
        self.names: list[tuple[str, datetime]] = []

    def __call__(self, name: str, at: datetime) -> None:
        self.names.append((name, at))


def test_a_name_fires_once_when_its_moment_has_come(redis: Redis) -> None:
    timers, heard = Timers(redis), Heard()
    timers.carry("sweep", LATER)
    assert timers.carried() == {"sweep": LATER}

    assert timers.fire_due(LATER - timedelta(seconds=1), heard) == 0
    assert timers.fire_due(LATER, heard) == 1
    assert timers.fire_due(LATER, heard) == 0

    assert heard.names == [("sweep", LATER)]
    assert timers.carried() == {}
    assert redis.keys("rq:job:*") == []


def test_a_moment_in_another_zone_is_the_same_moment(redis: Redis) -> None:
    Timers(redis).carry("sweep", LATER.astimezone(ZoneInfo("America/St_Johns")))
    assert Timers(redis).carried() == {"sweep": LATER}


def test_a_name_that_is_carried_again_is_moved(redis: Redis) -> None:
    timers, heard = Timers(redis), Heard()
    timers.carry("sweep", NOW)
    timers.carry("sweep", LATER)
    assert timers.fire_due(NOW, heard) == 0
    assert timers.carried() == {"sweep": LATER}


def test_a_name_carried_on_while_it_fires_stays(redis: Redis) -> None:
    timers = Timers(redis)
    timers.carry("sweep", NOW)
    assert timers.fire_due(NOW, lambda name, at: timers.carry(name, at + timedelta(minutes=1))) == 1
    assert timers.carried() == {"sweep": NOW + timedelta(minutes=1)}


def test_a_dropped_name_does_not_fire(redis: Redis) -> None:
    timers, heard = Timers(redis), Heard()
    timers.carry("sweep", NOW)
    assert timers.drop("sweep")
    assert not timers.drop("sweep")
    assert timers.fire_due(LATER, heard) == 0


def test_one_that_fails_is_set_back_and_the_others_fire(redis: Redis) -> None:
    timers, heard = Timers(redis), Heard()
    timers.carry("bad", NOW)
    timers.carry("good", NOW)

    def fire(name: str, at: datetime) -> None:
        if name == "bad":
            raise RuntimeError("poisoned")
        heard(name, at)

    assert timers.fire_due(NOW, fire) == 1
    assert [name for name, _ in heard.names] == ["good"]
    assert timers.carried()["bad"] > datetime.now(UTC)


def test_only_one_of_two_schedulers_fires(redis: Redis) -> None:
    first, second, heard = Timers(redis), Timers(redis), Heard()
    first.carry("sweep", NOW)

    def fire(name: str, at: datetime) -> None:
        assert second.fire_due(NOW, heard) == 0
        heard(name, at)

    assert first.fire_due(NOW, fire) == 1
    assert len(heard.names) == 1


def test_entries_are_json_and_no_other_rq_scheduler_takes_them(redis: Redis) -> None:
    Timers(redis).carry("sweep", NOW)
    assert not redis.exists(Scheduler.scheduled_jobs_key)
    assert json.loads(zlib.decompress(redis.hget("rq:job:timer-0a1b-sweep", "data")))[2][0] == "sweep"


def test_a_loss_of_everything_is_noticed_once_by_one(redis: Redis) -> None:
    first, second = Timers(redis), Timers(redis)
    assert first.has_lost_everything()
    assert not second.has_lost_everything()
    redis.flushall()
    assert second.has_lost_everything()
    assert not first.has_lost_everything()


def test_a_running_scheduler_shows_itself(redis: Redis) -> None:
    timers = Timers(redis, "host-1")
    timers.tell_alive("a database")
    assert running_schedulers(redis) == {"host-1": "a database"}
    assert 0 < redis.ttl("taskyard:0a1b:scheduler:host-1") <= 11
    timers.tell_ended()
    assert running_schedulers(redis) == {}


def test_redis_away_is_unavailable(tmp_path: Path) -> None:
    timers = Timers(connect(Settings.from_env({"DATA_DIR": str(tmp_path)}), NAMES))
    with pytest.raises(Unavailable):
        timers.carry("sweep", NOW)
    with pytest.raises(Unavailable):
        timers.fire_due(NOW, lambda _name, _at: None)
