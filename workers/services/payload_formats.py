"""What a task's schema says about a field beyond its type, by `format`: checked when a payload is submitted.

A task declares it as `Annotated[str, Field(json_schema_extra={"format": "taskyard-url"})]`. Only fields of the payload itself
are looked at, not fields inside of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from workers.domain import mails
from workers.domain.addresses import check_url
from workers.domain.errors import BadInput
from workers.domain.http_headers import check_headers

_Check = Callable[[Any, str, bool], object]


def _check_url(value: Any, field: str, allow_private: bool) -> None:
    check_url(value, allow_private=allow_private, field=field)


def _check_source(value: Any, field: str, allow_private: bool) -> None:
    if "://" in value:
        check_url(value, allow_private=allow_private, field=field)


_CHECKS: dict[str, tuple[type, _Check]] = {
    "taskyard-url": (str, _check_url),
    "taskyard-source": (str, _check_source),
    "taskyard-http-headers": (dict, lambda value, field, _: check_headers(value, field)),
    "taskyard-mail-address": (str, lambda value, field, _: mails.check_recipient(value, field)),
    "taskyard-mail-addresses": (str, lambda value, field, _: mails.check_recipients(value, field)),
    "taskyard-mail-subject": (str, lambda value, field, _: mails.check_subject(value, field)),
}


def fields_of(schema: str) -> tuple[tuple[str, str], ...]:
    """Return the fields of a schema that have a format which is checked here, with the format."""
    properties = json.loads(schema).get("properties", {})
    formats = ((name, part.get("format")) for name, part in properties.items() if isinstance(part, Mapping))
    return tuple((name, form) for name, form in formats if form in _CHECKS)


def check(fields: tuple[tuple[str, str], ...], payload: Mapping[str, Any], *, allow_private: bool) -> None:
    """Check the fields of a payload that fits its schema. Raises BadInput, which names every wrong field.

    What is left empty is the task's to judge.
    """
    refused = [error for name, form in fields if (error := _refusal(name, form, payload.get(name), allow_private))]
    if len(refused) == 1:
        raise refused[0]
    if refused:
        raise BadInput(refused[0].message, errors=[one for error in refused for one in error.errors])


def _refusal(name: str, form: str, value: Any, allow_private: bool) -> BadInput | None:
    kind, check_value = _CHECKS[form]
    if value and isinstance(value, kind):
        try:
            check_value(value, f"payload.{name}", allow_private)
        except BadInput as error:
            return error
    return None
