"""The API against its own document: calls made from it, one by one and in sequences along its links.

`make fuzz` makes 100,000 calls, `make test` a few hundred; FUZZ_CALLS chooses. Every kind of caller takes part, on each
database; nothing may fail, be logged as a fault, or answer other than the document says.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import sys
import time
from typing import Any

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Flaky
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.people import TESTS
from tests.security.seeds import plant
from workers.services import tokens

CALLS = int(os.environ.get("FUZZ_CALLS", "600"))
SEED = int(os.environ.get("FUZZ_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
ROLES = ("admin", "operator", "viewer")
STEPS = 12
MOST_FAULTS = 20
REPORT_SECONDS = 30.0


class Fuzzer:
    """Calls an application until so many calls are made."""

    def __init__(self, app: Flask, calls: int) -> None:
        self.app, self.calls = app, calls
        yard = app.extensions["yard"]
        self.ids = plant(yard) | {"rule_id": "rule-cpu", "name": "default"}
        self.headers = {role: self._headers_of(yard, role) for role in ROLES}
        self.made: dict[int, int] = {}
        self.faults: list[str] = []
        self.started_at = self._reported_at = time.monotonic()
        self.random = random.Random(SEED)

    @staticmethod
    def _headers_of(yard: Any, role: str) -> dict[str, str]:
        secret = tokens.create(yard, f"fuzz {role}", role, None, TESTS)
        # Calls without a server between are not decompressed.
        return {"Authorization": f"Bearer {secret}", "Accept-Encoding": "identity"}

    @property
    def count(self) -> int:
        return sum(self.made.values())

    @property
    def role(self) -> str:
        """Choose who calls: mostly the admin, who gets furthest."""
        return self.random.choices(ROLES, (6, 2, 1))[0]

    def note(self, response: Any) -> None:
        self.made[response.status_code] = self.made.get(response.status_code, 0) + 1
        if time.monotonic() - self._reported_at > REPORT_SECONDS:
            self._reported_at = time.monotonic()
            self.report()

    def deepen(self, case: Any) -> None:
        """Put what exists into half of the calls, so that they get further than to 404 and 422."""
        if self.random.random() < 0.5:
            return
        for name in case.path_parameters or {}:
            if name in self.ids:
                case.path_parameters[name] = self.ids[name]
        if isinstance(case.body, dict):
            sound = {"task": "samples.noop", "listens": "a.b", "kind": "cpu", "cron": "@daily", "timezone": "UTC"}
            case.body |= {name: value for name, value in sound.items() if name in case.body}

    def check(self, response: Any, case: Any) -> None:
        # Faults are kept, not raised: one that Hypothesis cannot repeat, since rows have changed, is a fault as well.
        try:
            case.validate_response(response, checks=CHECKS)
        except Exception as fault:
            if len(self.faults) < MOST_FAULTS:
                self.faults.append(f"{case.method} {case.formatted_path}: {fault}")

    def report(self) -> None:
        database = self.app.extensions["yard"].database.engine.dialect.name
        seconds = time.monotonic() - self.started_at
        by_status = ", ".join(f"{status}: {count:,}" for status, count in sorted(self.made.items()))
        sys.stderr.write(f"fuzz on {database}, seed {SEED}: {self.count:,} calls in {seconds:.0f} s ({by_status})\n")

    def settings(self, examples: int) -> settings:
        return settings(
            max_examples=examples,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        )

    def call_each_operation(self, schema: Any, examples: int) -> None:
        """Call every operation with data that it allows and that it forbids."""
        for found in schema.get_all_operations():
            for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
                self._call(found.ok(), mode, examples)

    def _call(self, operation: Any, mode: Any, examples: int) -> None:
        @seed(self.random.randrange(2**32))
        @self.settings(examples)
        @given(case=operation.as_strategy(generation_mode=mode))
        def holds(case: Any) -> None:
            self.deepen(case)
            response = case.call(headers=self.headers[self.role])
            self.note(response)
            self.check(response, case)

        holds()

    def follow_links(self, schema: Any, examples: int) -> None:
        """Make sequences of calls in which each goes on with what the last answered."""
        fuzzer = self

        class Sequence(schema.as_state_machine()):  # type: ignore[misc]
            def setup(self) -> None:
                self.headers = fuzzer.headers[fuzzer.role]

            def get_call_kwargs(self, _case: Any) -> dict[str, Any]:
                return {"headers": self.headers}

            def after_call(self, response: Any, case: Any) -> None:
                super().after_call(response, case)
                fuzzer.note(response)

            def validate_response(self, response: Any, case: Any, **_given: Any) -> None:
                fuzzer.check(response, case)

        # What a call answers depends on the rows that earlier ones left, which Hypothesis takes for an unsteady test.
        with contextlib.suppress(Flaky):
            Sequence.run(settings=self.settings(examples))


def test_no_call_answers_other_than_the_document_says(shared_app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    fuzzer = Fuzzer(shared_app, CALLS // 2)
    schema = schemathesis.openapi.from_wsgi("/api/openapi.json", shared_app)
    operations = sum(1 for _ in schema.get_all_operations())
    assert operations >= 50
    # Half one by one, half in sequences, in rounds so that the later ones meet what the earlier ones left.
    rounds = max(1, fuzzer.calls // 10_000)
    while fuzzer.count < fuzzer.calls:
        fuzzer.ids |= plant(shared_app.extensions["yard"])
        fuzzer.call_each_operation(schema, max(1, fuzzer.calls // rounds // operations // 4))
        wanted = fuzzer.count + fuzzer.calls // rounds // 2
        while fuzzer.count < wanted:
            fuzzer.follow_links(schema, 25)
        assert fuzzer.faults == []
        assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
        caplog.clear()
    fuzzer.report()
    assert max(fuzzer.made) < 500
    assert {200, 202, 404, 422} <= set(fuzzer.made)
