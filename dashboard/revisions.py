"""Edits of two people at once, over HTTP: ETag and If-Match in calls, a hidden field in forms."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify, request

from workers.domain.errors import BadInput
from workers.domain.numbers import parse_whole
from workers.services.revisions import Expected
from workers.store.types import Row


def expected_by_call() -> Expected:
    """Return the revisions that `If-Match` names; None when the call takes whatever is stored."""
    if "If-Match" not in request.headers or request.if_match.star_tag:
        return None
    return frozenset(
        int(tag) for tag in request.if_match.as_set() if tag and tag.isascii() and tag.isdigit() and len(tag) < 19
    )


def expected_by_form() -> Expected:
    """Return the revision that the form was opened with; None for a form without one. Raises BadInput."""
    text = request.form.get("revision", "")
    try:
        return frozenset({parse_whole(text)}) if text else None
    except ValueError as error:
        raise BadInput("This form has no valid revision. Open the page again.", field="revision") from error


def answer_with_revision(shown: dict[str, Any], row: Row, status: int = 200) -> Response:
    """Answer a resource with the revision of its row as its ETag."""
    answer = jsonify(shown)
    answer.status_code = status
    answer.set_etag(str(row["revision"]))
    return answer
