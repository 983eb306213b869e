"""Answers that several calls give."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify, make_response

from workers.services.bulk_action_lists import as_json
from workers.services.enqueueing import Enqueued
from workers.store.types import Row


def enqueued(made: Enqueued) -> dict[str, Any]:
    """Tell of a job that stands for a request."""
    return {
        "job_id": made.job_id,
        "status": made.status,
        "status_url": f"/api/v1/jobs/{made.job_id}",
        "deduplicated": made.deduplicated,
    }


def accepted(made: Enqueued) -> Response:
    """Answer 202 with the job and where it is."""
    answer = make_response(jsonify(enqueued(made)), 202)
    answer.headers["Location"] = f"/api/v1/jobs/{made.job_id}"
    return answer


def accepted_action(row: Row) -> Response:
    """Answer 202 with a bulk action and where it is."""
    answer = make_response(jsonify(as_json(row)), 202)
    answer.headers["Location"] = f"/api/v1/bulk-actions/{row['id']}"
    return answer
