"""What a call takes: pydantic models for its query and body, checked here and told in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, TypeVar, get_args

from flask import Flask, current_app, request
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, WithJsonSchema, model_validator
from werkzeug.exceptions import NotAcceptable, RequestEntityTooLarge, UnsupportedMediaType

from workers.domain import strict_json
from workers.domain.clock import RANGE, parse_instant
from workers.domain.errors import BadInput, TooLarge
from workers.domain.numbers import parse_number, parse_whole

F = TypeVar("F", bound=Callable[..., Any])
M = TypeVar("M", bound=BaseModel)
MAX_BODY_BYTES = 1_100_000
MAX_FIELDS = 100


def _instant(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError("a time is text such as 2026-01-31T08:00:00Z")
    return parse_instant(value)


def refuse_crowd(values: Any) -> Any:
    """Raise ValueError for an object with very many fields: an error for each of them would take seconds to write."""
    if isinstance(values, dict) and len(values) > MAX_FIELDS:
        raise ValueError(f"An object has at most {MAX_FIELDS} fields here; this one has {len(values):,}.")
    return values


Instant = Annotated[
    datetime,
    BeforeValidator(_instant),
    WithJsonSchema({"type": "string", "format": "date-time", "description": f"RFC 3339, {RANGE}."}),
]


class Strict(BaseModel):
    """A model that knows all its fields, takes no other, and converts no type into another."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_crowd(cls, values: Any) -> Any:
        return refuse_crowd(values)


class NoQuery(Strict):
    """A call without query parameters."""


class NoBody(Strict):
    """A call without a body; an empty object is none."""


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
    is_guarded: bool = False,
) -> Callable[[F], F]:
    """Describe a call for the OpenAPI document; `instead` names other successes and when they are answered.

    A call with a body accepts up to `max_bytes` of it, 1.1 MB unless given. One that `is_guarded` reads `If-Match`.
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
            "is_guarded": is_guarded,
        }
        if body is not None:
            view.taskyard_body_limit = max_bytes or MAX_BODY_BYTES  # type: ignore[attr-defined]
        return view

    return mark


def init(app: Flask) -> None:
    """Check what every call takes, before its view: media types, and that nothing comes that is not described."""
    app.before_request(_check_call)


def read_query(model: type[M]) -> M:
    """Read the query string into a model. BadInput names every parameter that cannot be used."""
    repeated = [name for name in request.args if len(request.args.getlist(name)) > 1]
    if repeated:
        raise BadInput(f"{repeated[0]} is given more than once.", field=repeated[0])
    return _read(model, {name: _typed(model, name, text) for name, text in request.args.items()})


def read_body(model: type[M]) -> M:
    """Read a JSON body into a model. Raises Malformed, BadInput and TooLarge."""
    return _read(model, parse_body(receive_body()))


def receive_body() -> bytes:
    """Return the body as it comes, at the client's speed. Raises TooLarge above the limit of the call."""
    try:
        return request.get_data(cache=False)
    except RequestEntityTooLarge as error:
        raise TooLarge(f"The body is larger than {request.max_content_length:,} bytes.", "body") from error


def parse_body(raw: bytes) -> dict[str, Any]:
    """Return a body as a JSON object; an empty body is an empty object. Raises Malformed and BadInput for anything else."""
    if not raw:
        return {}
    value = strict_json.parse(raw)
    if not isinstance(value, dict):
        raise BadInput("The body must be a JSON object.", field="body")
    return value


def describe_errors(error: ValidationError, limit: int = 50) -> list[dict[str, str]]:
    """Return what is wrong with a model, field by field."""
    found = error.errors(include_url=False, include_input=False, include_context=False)[:limit]
    return [{"field": _shown(one["loc"]), "message": one["msg"].removeprefix("Value error, ")} for one in found]


def _check_call() -> None:
    about = getattr(current_app.view_functions.get(request.endpoint or ""), "taskyard_operation", None)
    if about is None or request.method == "OPTIONS":
        return
    _check_accept()
    if about["query"] is NoQuery:
        read_query(NoQuery)
    if request.method in {"GET", "HEAD"}:
        return
    _check_media_type()
    if about["body"] is None:
        read_body(NoBody)


def _check_accept() -> None:
    accepted = request.accept_mimetypes
    if len(accepted) and not any(accepted.quality(kind) for kind in ("application/json", "application/problem+json")):
        raise NotAcceptable("Calls answer application/json. Send Accept: application/json, or no Accept header.")


def _check_media_type() -> None:
    has_body = bool(request.content_length) or "Transfer-Encoding" in request.headers
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding != "identity":
        raise UnsupportedMediaType("Compressed bodies are not supported. Send it without Content-Encoding.")
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if has_body and (request.mimetype != "application/json" or charset not in {"utf-8", "utf8"}):
        raise UnsupportedMediaType("Send JSON in UTF-8 with the header Content-Type: application/json.")


def _typed(model: type[BaseModel], name: str, text: str) -> Any:
    """Return a parameter as the type that its field has; as it is when it is no such value, for the model to refuse."""
    field = model.model_fields.get(name)
    kinds = {field.annotation, *get_args(field.annotation)} if field is not None else set()
    try:
        if int in kinds:
            return parse_whole(text)
        if float in kinds:
            return parse_number(text)
    except ValueError:
        return text
    return text


def _read(model: type[M], values: dict[str, Any]) -> M:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        found = describe_errors(error)
        raise BadInput(f"{found[0]['field']}: {found[0]['message']}", errors=found) from error


def _shown(path: tuple[int | str, ...]) -> str:
    return ".".join(map(str, path))[:200] or "body"
