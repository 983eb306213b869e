"""Fixtures of the security tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from tests.conftest import database_of, open_yard, settings_of
from tests.people import add_people
from tests.security.serving import Web, serving
from workers.settings import Settings
from workers.yard import Yard


@pytest.fixture(scope="module")
def module_yard(valkey: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    """Open an empty Taskyard on SQLite that the tests of a module share."""
    folder = tmp_path_factory.mktemp("yard")
    opened = open_yard(settings_of(valkey, folder, f"sqlite:///{folder / 'taskyard.db'}"))
    yield opened
    opened.close()


@pytest.fixture
def web(light_yard: Yard, tmp_path: Path) -> Iterator[Web]:
    """Serve a yard with vera (viewer), olga (operator) and ada (admin) from a real web process."""
    add_people(light_yard)
    with serving(light_yard, tmp_path) as web:
        yield web


@pytest.fixture(scope="module")
def module_web(module_yard: Yard, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """Serve one yard for all tests of a module."""
    with serving(module_yard, tmp_path_factory.mktemp("web")) as web:
        yield web


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared_app(
    request: pytest.FixtureRequest, valkey: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Flask]:
    """Make the web application once for the tests of a module on each kind of database, with people in it."""
    from dashboard.factory import create_app

    folder = tmp_path_factory.mktemp("shared")
    with database_of(request, request.param, folder) as url:
        opened = open_yard(settings_of(valkey, folder, url))
        add_people(opened)
        app = create_app(opened.settings, opened)
        yield app
        app.extensions["live"].close()
        opened.close()


@pytest.fixture(scope="module")
def shared_light_app(valkey: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """Make the web application once for the tests of a module, on SQLite alone."""
    from dashboard.factory import create_app

    folder = tmp_path_factory.mktemp("light")
    opened = open_yard(settings_of(valkey, folder, f"sqlite:///{folder / 'taskyard.db'}"))
    add_people(opened)
    app = create_app(opened.settings, opened)
    yield app
    app.extensions["live"].close()
    opened.close()
