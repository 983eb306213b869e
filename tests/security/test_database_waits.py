"""Statements of the web process: none holds up the event loop, none runs without end, on SQLite as on PostgreSQL."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
LONGEST_SECONDS = 0.5  # the machine may be busy; what this test is for takes seconds


def probe(url: str, case: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.security.database_probe", url, case],
        cwd=ROOT, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'probe.db'}"


def test_a_slow_read_of_sqlite_lets_others_run(sqlite_url: str) -> None:
    found = probe(sqlite_url, "slow")
    assert found["result"] == 1_000_000
    assert found["took_seconds"] > found["longest_seconds"]
    assert found["longest_seconds"] < LONGEST_SECONDS


def test_a_read_of_sqlite_without_end_is_broken_off_with_words(sqlite_url: str) -> None:
    found = probe(sqlite_url, "endless")
    assert "takes too long" in found["result"]
    assert found["took_seconds"] < 10
    assert found["longest_seconds"] < LONGEST_SECONDS


def test_a_read_that_nobody_waits_for_ends_and_its_connection_is_usable(sqlite_url: str) -> None:
    assert probe(sqlite_url, "killed")["result"] == [True, 7]


def test_writers_and_slow_readers_do_not_block_each_other(sqlite_url: str) -> None:
    found = probe(sqlite_url, "writers")
    assert found["result"] == 40
    assert found["longest_seconds"] < LONGEST_SECONDS


def test_a_slow_statement_of_postgresql_lets_others_run(postgres: str) -> None:
    found = probe(postgres + "postgres", "sleep")
    assert found["result"] == "slept"
    assert found["longest_seconds"] < LONGEST_SECONDS
