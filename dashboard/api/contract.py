"""What a call takes: pydantic models for its query and body, checked here and told in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from flask import request
from pydantic import BaseModel, ConfigDict, ValidationError
from werkzeug.exceptions import RequestEntityTooLarge

from workers.domain import payloads
from workers.domain.errors import BadInput, TooLarge

F = TypeVar("F", bound=Callable[..., Any])
M = TypeVar("M", bound=BaseModel)
MAX_BODY_BYTES = 1_100_000


class Strict(BaseModel):
    """A model that knows all its fields and takes no other."""

    model_config = ConfigDict(extra="forbid")


class NoQuery(Strict):
    """A call without query parameters."""


def operation(
    summary: str,
    *,
    tag: str,
    query: type[BaseModel] = NoQuery,
    body: type[BaseModel] | None = None,
    answer: str = "",
    status: int = 200,
    instead: Mapping[int, str] | None = None,
    max_bytes: int | None = None,
) -> Callable[[F], F]:
    """Describe a call for the OpenAPI document; `instead` names other successes and when they are answered.

    A call with a body accepts up to `max_bytes` of it, 1.1 MB unless given.
    """

    def mark(view: F) -> F:
        view.taskyard_operation = {  # type: ignore[attr-defined]
            "summary": summary,
            "tag": tag,
            "query": query,
            "body": body,
            "answer": answer,
            "status": status,
            "instead": instead or {},
        }
        if body is not None:
            view.taskyard_body_limit = max_bytes or MAX_BODY_BYTES  # type: ignore[attr-defined]
        return view

    return mark


def read_query(model: type[M]) -> M:
    """Read the query string into a model. BadInput names every parameter that cannot be used."""
    repeated = [name for name in request.args if len(request.args.getlist(name)) > 1]
    if repeated:
        raise BadInput(f"{repeated[0]} is given twice.", field=repeated[0])
    return _read(model, request.args.to_dict())


def read_body(model: type[M]) -> M:
    """Read a JSON body into a model. Raises BadInput and TooLarge."""
    return _read(model, json_body())


def json_body() -> dict[str, Any]:
    """Read a JSON object. Raises BadInput for anything else, TooLarge above the limit of the call, before it is parsed."""
    try:
        raw = request.get_data(cache=False)
    except RequestEntityTooLarge as error:
        raise TooLarge(f"The body is larger than {request.max_content_length:,} bytes.", "body") from error
    if not raw:
        return {}
    try:
        value = payloads.parse(raw)
    except ValueError as error:
        raise BadInput(f"The body is no JSON: {error}", field="body") from error
    if not isinstance(value, dict):
        raise BadInput("The body must be a JSON object.", field="body")
    return value


def _read(model: type[M], values: dict[str, Any]) -> M:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        found = [
            {"field": ".".join(map(str, one["loc"])) or "body", "message": one["msg"]}
            for one in error.errors(include_url=False, include_input=False, include_context=False)[:50]
        ]
        raise BadInput(f"{found[0]['field']}: {found[0]['message']}", errors=found) from error
