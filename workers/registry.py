"""The tasks that this process knows: plain functions with the schema of their payload."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import CoroutineType, SimpleNamespace
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from workers.domain.cron import LONGEST_INTERVAL_SECONDS, check_cron, check_zone
from workers.domain.errors import BadInput, SettingsError
from workers.domain.names import check_priority, check_queue, check_task, is_reserved_queue
from workers.domain.payload_bytes import decode_bytes, holds_bytes
from workers.domain.task_options import check_options
from workers.domain.texts import is_of, safe_repr
from workers.event_loop import run_coroutine
from workers.payload_schema import PayloadSchema
from workers.secret_names import check_secret


@dataclass(frozen=True)
class TaskDefinition:
    """A registered function with what applies to each of its jobs unless the request says otherwise."""

    name: str
    function: Callable[..., Any]
    payload_model: type[BaseModel]
    queue: str = "default"
    priority: str = "normal"
    max_retries: int | None = None
    timeout_seconds: float | None = None
    retry_delays: tuple[float, ...] = ()
    unique: bool = False
    secret: tuple[str, ...] = ()  # names of fields whose values are masked in payloads and results
    schedule: str | int | None = None  # a cron expression, or an interval in seconds
    timezone: str = "UTC"
    doc: str = ""
    module: str = ""
    previous_name: str = ""  # the default name before 2026-11, which jobs and schedules of that time carry
    _names: tuple[str, ...] = field(default=(), repr=False)

    @property
    def is_own(self) -> bool:
        """Whether it is one of the ready-made tasks."""
        return self.module.startswith(_OWN_MODULES)

    def schema(self) -> dict[str, Any]:
        """Tell the JSON Schema of the payload."""
        return self.payload_model.model_json_schema(schema_generator=PayloadSchema)

    @cached_property
    def _bytes_schema(self) -> dict[str, Any] | None:
        """The schema when bytes may be in a payload, which JSON carries as base64."""
        schema = self.schema()
        return schema if holds_bytes(schema) else None

    def run(self, payload: Mapping[str, Any]) -> Any:
        """Call the function with a checked payload; BadInput names the field that does not fit."""
        schema = self._bytes_schema
        values = dict(payload) if schema is None else decode_bytes(dict(payload), schema)
        try:
            model = self.payload_model.model_validate(values)
        except ValidationError as error:
            raise _bad_input(self.name, error) from error
        arguments = {name: getattr(model, name) for name in self._names}
        result = self.function(**arguments)
        return run_coroutine(self.name, result) if is_of(result, CoroutineType) else result


_OWN_MODULES = "workers.tasks."
REGISTRY: dict[str, TaskDefinition] = {}


def define(function: Callable[..., Any], name: str | None = None, **options: Any) -> TaskDefinition:
    """Register a function as a task; SettingsError when its name is taken or its signature cannot be a payload."""
    if not inspect.isfunction(inspect.unwrap(function)):
        raise SettingsError(f"@task needs a function, not {safe_repr(function, 100)}. Write a function that calls it.")
    full_name = _checked_name(default_name(function) if name is None else name)
    known = REGISTRY.get(full_name)
    if known is not None and known.function.__qualname__ + known.module != function.__qualname__ + function.__module__:
        raise SettingsError(
            f"Two tasks are called {full_name}: in {known.module} and in {function.__module__}. Give one of them another name."
        )
    _check_function(full_name, function)
    names, model = _payload_model(full_name, function)
    if options.get("schedule") is not None and any(field.is_required() for field in model.model_fields.values()):
        raise SettingsError(f"Task {full_name} has a schedule, so each of its parameters needs a default.")
    checked = _checked(full_name, function.__module__, options)
    if checked["secret"]:
        check_secret(full_name, function, checked["secret"], model.model_json_schema(schema_generator=PayloadSchema))
    definition = TaskDefinition(
        name=full_name,
        function=function,
        payload_model=model,
        doc=inspect.getdoc(function) or "",
        module=function.__module__,
        previous_name="" if name is not None else _short_name(function),
        _names=names,
        **checked,
    )
    REGISTRY[full_name] = definition
    return definition


def find_task(name: str) -> TaskDefinition | None:
    """Return the task of this name, or the one that had it as its default name before; None when there is none."""
    known = REGISTRY.get(name)
    if known is not None:
        return known
    renamed = [one for one in REGISTRY.values() if one.previous_name == name]
    return renamed[0] if len(renamed) == 1 else None


def default_name(function: Callable[..., Any]) -> str:
    """Return the name of a task that was given none: its dotted path, short for the ready-made ones."""
    if function.__module__.startswith(_OWN_MODULES):
        return _short_name(function)
    return f"{function.__module__}.{function.__name__}"


def _short_name(function: Callable[..., Any]) -> str:
    return f"{function.__module__.rpartition('.')[2]}.{function.__name__}"


def _checked_name(name: str) -> str:
    try:
        return check_task(name)
    except BadInput as error:
        shown = safe_repr(name, 100)
        raise SettingsError(f"A task cannot be called {shown}. {error.message} Pass another name to @task.") from error


def _check_function(name: str, function: Callable[..., Any]) -> None:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise SettingsError(
            f"Task {name} is a generator, which would not run. Return a value, and report progress with progress()."
        )
    first = next(iter(inspect.signature(function).parameters), "")
    if first in {"self", "cls"}:
        raise SettingsError(
            f"Task {name} is a method: nothing can be passed as {first}. Make it a module-level function."
        )


def _parameter_hints(name: str, function: Callable[..., Any]) -> dict[str, Any]:
    """Return the type hints of the parameters; that of the result may name what only a type checker imports."""
    inner = inspect.unwrap(function)
    hints = {key: hint for key, hint in getattr(inner, "__annotations__", {}).items() if key != "return"}
    try:
        return get_type_hints(
            SimpleNamespace(__annotations__=hints), globalns=getattr(inner, "__globals__", {}), include_extras=True
        )
    except Exception as error:
        raise SettingsError(
            f"Task {name}: its type hints cannot be resolved: {error}. Import what they name at run time."
        ) from error


def _payload_model(name: str, function: Callable[..., Any]) -> tuple[tuple[str, ...], type[BaseModel]]:
    hints = _parameter_hints(name, function)
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise SettingsError(f"Task {name}: {parameter} cannot come from a JSON payload. Name each parameter.")
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (hints.get(parameter.name, Any), default)
    config = ConfigDict(extra="forbid", arbitrary_types_allowed=False, protected_namespaces=())
    try:
        model: type[BaseModel] = create_model(f"{name} payload", __config__=config, **fields)
        model.model_json_schema()
    except Exception as error:
        raise SettingsError(f"Task {name}: its type hints have no JSON schema: {error}.") from error
    return tuple(fields), model


def _checked(name: str, module: str, options: dict[str, Any]) -> dict[str, Any]:
    check_options(name, options)
    try:
        queue = check_queue(options.get("queue", "default"))
        check_priority(options.get("priority", "normal"))
    except BadInput as error:
        raise SettingsError(f"Task {name}: {error.message}") from error
    if is_reserved_queue(queue) and not module.startswith(_OWN_MODULES):
        raise SettingsError(
            f"Task {name} names the queue {queue}, which is reserved for system jobs. Choose another queue."
        )
    _check_schedule(options.get("schedule"), options.get("timezone", "UTC"))
    options["secret"] = tuple(options.get("secret") or ())
    options["retry_delays"] = tuple(float(one) for one in options.get("retry_delays") or ())
    return options


def _check_schedule(schedule: str | int | None, timezone: str) -> None:
    try:
        check_zone(timezone)
        if isinstance(schedule, str):
            check_cron(schedule)
        elif schedule is not None and not 1 <= schedule <= LONGEST_INTERVAL_SECONDS:
            raise BadInput(f"A schedule's interval is from 1 to {LONGEST_INTERVAL_SECONDS:,} seconds.")
    except BadInput as error:
        raise SettingsError(f"The schedule of a task is invalid: {error.message}") from error


def _bad_input(name: str, error: ValidationError) -> BadInput:
    errors = [
        {"field": ".".join(["payload", *map(str, one["loc"])]), "message": one["msg"]}
        for one in error.errors(include_url=False, include_input=False, include_context=False)[:20]
    ]
    first = errors[0]
    return BadInput(f"The payload does not fit {name}: {first['field']}: {first['message']}", errors=errors)
