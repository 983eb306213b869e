"""What is said of a Redis that cannot be used: by the check, by a start, by doctor, and where jobs wait for it."""

from __future__ import annotations

import contextlib
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import running_worker, settings_of
from tests.integration.redis_server import RedisServer, redis_server
from tests.integration.running import Running
from tests.support import eventually
from workers.broker.checks import Trouble, check, find_trouble
from workers.broker.connection import connect, connect_impatiently
from workers.domain.states import Status
from workers.services import jobs
from workers.services.enqueueing import NewJob
from workers.yard import Yard

pytestmark = pytest.mark.timeout(180)
# As docs/operations.md writes them.
RIGHTS = (
    "~taskyard:* ~rq:queue:taskyard:* ~rq:queues ~rq:job:* ~rq:worker:taskyard:* ~rq:workers ~rq:workers:taskyard:* "
    "~rq:suspended &taskyard:* &rq:pubsub:taskyard:* +@all -@admin -@dangerous"
)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as running:
        yield running


def found(yard: Yard, url: str) -> Trouble | None:
    with contextlib.closing(connect(replace(yard.settings, redis_url=url), yard.redis.names)) as client:
        return check(client)


def test_a_redis_that_allows_and_takes_all_has_no_trouble_and_keeps_nothing(
    light_yard: Yard, server: RedisServer
) -> None:
    assert found(light_yard, server.url()) is None
    assert found(light_yard, server.allow(RIGHTS)) is None
    assert list(server.admin.scan_iter()) == []


SETTING_TROUBLES: dict[str, tuple[Callable[[RedisServer], str], str]] = {
    "a wrong password": (lambda server: server.allow(RIGHTS).replace("sesame", "simsim"), "user name or password"),
    "no password": (lambda server: (server.admin.config_set("requirepass", "x"), server.url())[1], "requires a password"),
    "no such database": (lambda server: server.url(database=99), "no database of this number"),
    "no scripts": (lambda server: server.allow(RIGHTS + " -@scripting"), "'eval'"),
    "no EVALSHA": (lambda server: server.allow(RIGHTS + " -evalsha"), "'evalsha'"),
    "no publishing": (lambda server: server.allow(RIGHTS + " -publish"), "'publish'"),
    "no subscribing": (lambda server: server.allow(RIGHTS + " -subscribe"), "'subscribe'"),
    "no channels": (lambda server: server.allow(RIGHTS.replace("&taskyard:*", "")), "channel"),
    "no channels of commands": (lambda server: server.allow(RIGHTS.replace("&rq:pubsub:taskyard:*", "")), "channel"),
    "no transactions": (lambda server: server.allow(RIGHTS + " -@transaction"), "'multi'"),
    "no blocking": (lambda server: server.allow(RIGHTS + " -blpop"), "'blpop'"),
    "only reads": (lambda server: server.allow(RIGHTS + " -@write"), "no permissions"),
    **{
        f"no key {pattern}": (lambda server, pattern=pattern: server.allow(RIGHTS.replace(f"{pattern} ", "", 1)), "key")
        for pattern in RIGHTS.split()
        if pattern.startswith("~")
    },
}  # fmt: skip


@pytest.mark.parametrize("case", SETTING_TROUBLES)
def test_what_only_a_setting_can_help_is_named(light_yard: Yard, server: RedisServer, case: str) -> None:
    arrange, words = SETTING_TROUBLES[case]
    trouble = found(light_yard, arrange(server))
    assert trouble is not None
    assert trouble.is_setting
    assert words in trouble.sentence
    assert "sesame" not in trouble.sentence


PASSING_TROUBLES: dict[str, tuple[Callable[[RedisServer], object], str]] = {
    "full": (lambda server: server.admin.config_set("maxmemory", "1"), "full"),
    "read-only": (lambda server: server.admin.execute_command("REPLICAOF", "127.0.0.1", "1"), "read-only"),
    "suspended": (lambda server: server.admin.set("rq:suspended", 1), "rq resume"),
    "paused": (lambda server: server.admin.execute_command("CLIENT", "PAUSE", "60000", "ALL"), "does not answer"),
    "away": (lambda server: server.admin.shutdown(nosave=True), "cannot be reached"),
}


@pytest.mark.parametrize("case", PASSING_TROUBLES)
def test_what_passes_is_named_and_no_fault_of_the_settings(light_yard: Yard, server: RedisServer, case: str) -> None:
    arrange, words = PASSING_TROUBLES[case]
    client = connect_impatiently(replace(light_yard.settings, redis_url=server.url()))
    assert find_trouble(client, light_yard.redis.names) is None
    arrange(server)
    trouble = find_trouble(client, light_yard.redis.names)
    assert trouble is not None
    assert not trouble.is_setting
    assert words in trouble.sentence
    client.close()


@pytest.mark.parametrize("case", ["full", "suspended", "read-only"])
def test_the_full_check_says_so_too(light_yard: Yard, server: RedisServer, case: str) -> None:
    arrange, words = PASSING_TROUBLES[case]
    arrange(server)
    trouble = found(light_yard, server.url())
    assert trouble is not None
    assert words in trouble.sentence


def test_a_worker_does_all_its_work_with_the_rights_of_the_docs(
    light_yard: Yard, server: RedisServer, tmp_path: Path
) -> None:
    settings = settings_of(
        replace(light_yard.settings, redis_url=server.allow(RIGHTS)), tmp_path, light_yard.settings.database_url
    )
    yard = Yard.open(settings)
    with running_worker(yard):
        made = [jobs.enqueue(yard, NewJob("samples.noop")).job_id for _ in range(3)]

        def are_done() -> None:
            with yard.database.read() as connection:
                assert {jobs.get(connection, one)["status"] for one in made} == {Status.COMPLETED}

        eventually(are_done, within=40)

        def is_registered() -> None:
            assert list(server.admin.scan_iter("rq:worker:taskyard:*"))

        eventually(is_registered, within=20)
    assert [line["username"] for line in server.admin.acl_log() if line["username"] == "shop"] == []
    yard.close()


@pytest.fixture
def running(tmp_path: Path, server: RedisServer) -> Iterator[Callable[..., Running]]:
    made: list[Running] = []

    def make(url: str) -> Running:
        one = Running(tmp_path / f"yard-{len(made)}", REDIS_URL=url)
        made.append(one)
        return one

    yield make
    for one in made:
        one.clean_up()


@pytest.mark.parametrize(
    ("command", "case"),
    [
        ("worker", "a wrong password"),
        ("scheduler", "no scripts"),
        ("web", "no subscribing"),
        ("pool", "no such database"),
        ("", "a wrong password"),
    ],
)
def test_a_start_ends_with_78_and_says_what_to_do(
    running: Callable[..., Running], server: RedisServer, command: str, case: str
) -> None:
    arrange, words = SETTING_TROUBLES[case]
    ended = running(arrange(server)).run(*command.split(), within=60)
    assert ended.returncode == 78, ended.stderr
    lines = [line for line in ended.stderr.splitlines() if words in line]
    assert len(lines) == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "sesame" not in ended.stderr


@pytest.mark.parametrize("command", ["worker", "web", "doctor", "enqueue samples.noop", ""])
@pytest.mark.parametrize("url", ["redis+sentinel://a:26379/m", "localhost:6379"])
def test_an_address_of_another_form_ends_every_command_with_78(
    running: Callable[..., Running], command: str, url: str
) -> None:
    ended = running(url).run(*command.split())
    assert ended.returncode == 78
    assert len(ended.stderr.splitlines()) == 1
    assert "REDIS_URL" in ended.stderr


@pytest.mark.parametrize("case", ["no scripts", "full"])
def test_doctor_says_what_is_wrong(running: Callable[..., Running], server: RedisServer, case: str) -> None:
    good = running(server.url())
    assert good.run("migrate").returncode == 0
    arrange, words = {**SETTING_TROUBLES, **PASSING_TROUBLES}[case]
    url = arrange(server)
    good.environment["REDIS_URL"] = url if isinstance(url, str) else server.url()
    report = good.run("doctor")
    line = next(line for line in report.stdout.splitlines() if " redis " in line)
    assert line.startswith("failed")
    assert words in line


def test_a_running_web_process_says_why_a_job_waits(running: Callable[..., Running], server: RedisServer) -> None:
    one = running(server.url()).start().ready()
    token = one.run("tokens", "create", "t").stdout.strip()
    server.admin.config_set("maxmemory", "1")
    made = one.enqueue("samples.noop")
    address = f"{one.address}/api/v1/jobs/{made}/explanation"

    def is_told() -> None:
        request = urllib.request.Request(address, headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert "Redis is full" in answer.read().decode()

    eventually(is_told, within=20)
    server.admin.config_set("maxmemory", "0")
    eventually(lambda: _is(one, made, "completed"), within=60)


def _is(running: Running, job: str, status: str) -> None:
    assert running.status(job) == status
