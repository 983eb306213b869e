"""The API against its own description: no call answers other than it says, whatever is sent."""

from __future__ import annotations

from typing import Any

import schemathesis
from flask import Flask
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, status_code_conformance

from workers.services import jobs
from workers.services.enqueueing import NewJob
from workers.yard import Yard

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance]


def test_no_call_answers_other_than_it_says_whatever_is_sent(app: Flask, auth: Any, light_yard: Yard) -> None:
    jobs.enqueue(light_yard, NewJob("samples.noop"))
    header = auth.token("admin")
    described = schemathesis.openapi.from_wsgi("/api/openapi.json", app)
    quick = settings(max_examples=20, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    tried = set()
    for found in described.get_all_operations():
        operation = found.ok()

        @quick
        @given(case=operation.as_strategy())
        def holds(case: Any) -> None:
            case.call_and_validate(headers=header, checks=CHECKS)

        holds()
        tried.add(operation.label)
    assert len(tried) >= 20
