"""Fixtures of every floor: a real Valkey, a real database of each kind, people with their roles."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from sqlalchemy import make_url

from tests import templates
from tests.people import TESTS, add_people, sign_in_at_once
from tests.postgres import PostgresServer
from tests.support import eventually
from workers import loading, registry
from workers.broker.embedded import EmbeddedValkey
from workers.domain import clock
from workers.domain.actors import Actor
from workers.processes import home
from workers.services import callbacks, clocks, publishing, rules, tokens
from workers.settings import Settings
from workers.store.migrate import migrate
from workers.yard import Yard

ROOT = Path(__file__).resolve().parent.parent

# A machine that is busy with other tests is slow at times; no property is about speed.
hypothesis_settings.register_profile("taskyard", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("taskyard")


@pytest.fixture(autouse=True)
def own_clock() -> Iterator[None]:
    """Have no test follow the clock that another one has measured."""
    yield
    clock.unfollow()
    clocks.forget_measurement()


@pytest.fixture(scope="session")
def valkey() -> Iterator[Settings]:
    """Run one Valkey for all tests of a session; its settings lead there."""
    folder = Path(tempfile.mkdtemp(prefix="ty-"))
    settings = home.settle(Settings.from_env({"DATA_DIR": str(folder)}))
    server = EmbeddedValkey(settings)
    server.prepare()
    with subprocess.Popen(server.command(), stdout=subprocess.DEVNULL) as process:
        eventually(lambda: _answers(server), within=10)
        yield settings
        process.terminate()
    shutil.rmtree(folder, ignore_errors=True)


def _answers(server: EmbeddedValkey) -> None:
    assert server.answers()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Run one PostgreSQL for all tests of a session; the address of its first database."""
    server = PostgresServer()
    server.start()
    yield server.address
    server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Lend a database of each kind that has the tables and no rows."""
    with database_of(request, request.param, tmp_path) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Lend a database of each kind before its first migration."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    with templates.postgresql_database(request.getfixturevalue("postgres")) as url:
        yield url


@contextlib.contextmanager
def database_of(request: pytest.FixtureRequest, kind: str, folder: Path) -> Iterator[str]:
    """Lend a database of this kind that has the tables and no rows until the block ends."""
    if kind == "sqlite":
        path = folder / "taskyard.db"
        templates.copy_sqlite(path)
        yield f"sqlite:///{path}"
        return
    with templates.postgresql_copy(request.getfixturevalue("postgres")) as url:
        yield url


def settings_of(valkey: Settings, tmp_path: Path, url: str) -> Settings:
    """Return settings of an empty Taskyard on this database."""
    settings = Settings.from_env({"DATA_DIR": str(tmp_path / "data"), "DATABASE_URL": url})
    settings = replace(settings, redis_url=valkey.effective_redis_url, heartbeat_seconds=1.0, secret_key="x" * 40)
    return home.settle(settings)


def open_yard(settings: Settings) -> Yard:
    """Open an empty Taskyard with its tables and the ready-made tasks."""
    url = make_url(settings.database_url)
    if url.get_backend_name() == "sqlite" and not Path(str(url.database)).exists():
        templates.copy_sqlite(Path(str(url.database)))
    yard = Yard.open(settings)
    yard.redis.flushall()
    migrate(yard.database)
    loading.load_modules(())
    publishing.publish(yard, registry.REGISTRY)
    callbacks.ensure_secret(yard)
    rules.ensure(yard)
    return yard


@pytest.fixture
def yard(valkey: Settings, database_url: str, tmp_path: Path) -> Iterator[Yard]:
    """Open an empty Taskyard, once on each kind of database."""
    opened = open_yard(settings_of(valkey, tmp_path, database_url))
    yield opened
    opened.close()


@pytest.fixture
def light_yard(valkey: Settings, tmp_path: Path) -> Iterator[Yard]:
    """Open an empty Taskyard on SQLite alone."""
    opened = open_yard(settings_of(valkey, tmp_path, f"sqlite:///{tmp_path / 'taskyard.db'}"))
    yield opened
    opened.close()


@pytest.fixture
def worker(yard: Yard) -> Iterator[subprocess.Popen[bytes]]:
    """Run a real worker process on the yard."""
    with running_worker(yard) as process:
        yield process


@contextlib.contextmanager
def running_worker(yard: Yard, queue: str = "", **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a real worker process until the block ends."""
    values = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "DATA_DIR": str(yard.settings.data_dir),
        "DATABASE_URL": yard.settings.database_url,
        "REDIS_URL": yard.settings.effective_redis_url,
        "HEARTBEAT_SECONDS": "1",
        **environment,
    }
    code = (
        "import sys; from workers.processes.worker import run_worker; from workers.settings import Settings; "
        "run_worker(Settings.from_env(), sys.argv[1:] or None)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, *([queue] if queue else [])], cwd=ROOT, env=values)
    try:
        yield process
    finally:  # a worker that outlives a failed test would take the jobs of the next one
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def no_running_loop() -> Iterator[None]:
    """Let a test run event loops of its own: Playwright's counts as running in this thread once it has been used."""
    running = asyncio.events._get_running_loop()
    asyncio.events._set_running_loop(None)
    yield
    asyncio.events._set_running_loop(running)


@pytest.fixture
def operator() -> Actor:
    """Name somebody who may act."""
    return Actor("user", "olga", "operator")


@pytest.fixture
def app(light_yard: Yard) -> Iterator[Flask]:
    """Make the web application on a yard with three people in it: vera looks, olga acts, ada decides."""
    from dashboard.factory import create_app

    add_people(light_yard)
    made = create_app(light_yard.settings, light_yard)
    made.config["TESTING"] = False
    yield made
    made.extensions["live"].close()


class Auth:
    """Signs people in and hands out tokens."""

    def __init__(self, app: Flask, yard: Yard) -> None:
        self._app, self._yard = app, yard

    def client(self, name: str | None) -> FlaskClient:
        """Make a client that this person is signed in with, or nobody; it sends the CSRF token by itself."""
        client = self._app.test_client()
        if name is not None:
            sign_in_at_once(self._yard, client, name)
        return client

    def csrf(self, client: FlaskClient) -> str:
        """Read the token that this client's forms carry."""
        page = client.get("/more").text
        return page.split('data-csrf="', 1)[1].split('"', 1)[0]

    def token(self, role: str) -> dict[str, str]:
        """Make the header of a token with this role."""
        secret = tokens.create(self._yard, f"a {role}", role, None, TESTS)
        return {"Authorization": f"Bearer {secret}"}


@pytest.fixture
def auth(app: Flask, light_yard: Yard) -> Auth:
    """Lend somebody who signs people in."""
    return Auth(app, light_yard)


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, Any]:
    """Start the system's Chromium, with nothing that reaches out."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.fail("Chromium is missing; make test says how to install it")
    flags = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    flags += "--disable-component-update --disable-sync"
    return {"executable_path": path, "args": flags.split()}
