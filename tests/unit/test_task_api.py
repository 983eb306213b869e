"""The task API: values of the wrong type are refused when a task is defined, and never end a running one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import pytest

from workers import registry
from workers.domain.errors import BadInput, SettingsError
from workers.domain.retrying import LONGEST_AFTER_SECONDS, retry_seconds
from workers.processes.endings import ending_of_error
from workers.task import (
    Reject,
    Retry,
    Skipped,
    cache_get,
    cache_set,
    get_setting,
    log,
    once,
    publish,
    set_setting,
    task,
)

if TYPE_CHECKING:
    from nowhere import Elsewhere


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "REGISTRY", {})


def work(number: int = 1) -> None:
    """Do nothing."""


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("timeout_seconds", -5),
        ("timeout_seconds", 0),
        ("timeout_seconds", "60"),
        ("timeout_seconds", math.nan),
        ("timeout_seconds", math.inf),
        ("timeout_seconds", True),
        ("max_retries", -1),
        ("max_retries", 1.5),
        ("max_retries", "3"),
        ("max_retries", False),
        ("max_retries", 101),
        ("retry_delays", (-1,)),
        ("retry_delays", ("5",)),
        ("retry_delays", 5),
        ("retry_delays", (math.nan,)),
        ("unique", "yes"),
        ("secret", "api_key"),
        ("secret", (1,)),
        ("queue", 5),
        ("queue", "Not A Queue"),
        ("priority", "urgent"),
        ("timezone", "Mars/Olympus"),
        ("schedule", "every day"),
        ("schedule", 0),
        ("schedule", True),
        ("max_concurrent", 3),
        ("colour", "red"),
    ],
)
def test_an_option_that_cannot_be_used_is_refused_with_its_name(option: str, value: Any) -> None:
    options = {option: value}
    with pytest.raises(Exception, match=r"queue|priority|schedule|zone|must be|unknown option") as refused:
        task(**options)(work)
    assert isinstance(refused.value, ValueError | SettingsError) or hasattr(refused.value, "message")
    assert registry.REGISTRY == {}


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> Any:
    yield 1


class Orders:
    def send(self) -> None:
        """Send an order."""


@pytest.mark.parametrize("function", [generator, async_generator, Orders.send])
def test_a_function_that_would_not_run_is_refused(function: Callable[..., Any]) -> None:
    with pytest.raises(SettingsError, match=r"generator|method"):
        task(function)


@pytest.mark.parametrize(
    "odd",
    [int, min, "text", 5, partial(work), Orders(), Orders().send, {}.get],
    ids=["class", "builtin", "text", "number", "partial", "instance", "bound method", "builtin method"],
)
def test_what_is_no_function_is_refused(odd: Any) -> None:
    with pytest.raises(SettingsError, match="needs a function"):
        task(odd)
    with pytest.raises(SettingsError, match="needs a function"):
        task(name="tests.odd")(odd)


def test_a_result_type_that_only_type_checkers_import_is_no_fault() -> None:
    def find(number: int) -> Elsewhere: ...  # type: ignore[empty-body]

    definition = registry.define(find, "tests.find")
    assert list(definition.payload_model.model_fields) == ["number"]


def test_a_parameter_type_that_only_type_checkers_import_is_named() -> None:
    def find(what: Elsewhere) -> None: ...

    with pytest.raises(SettingsError, match="Elsewhere"):
        registry.define(find, "tests.find")


@pytest.mark.parametrize(
    ("after", "seconds"),
    [
        (None, None),
        (30, 30.0),
        ("30", 30.0),
        (Decimal("1.5"), 1.5),
        (timedelta(minutes=2), 120.0),
        (-5, 0.0),
        (math.inf, LONGEST_AFTER_SECONDS),
        (1e15, LONGEST_AFTER_SECONDS),
        (10**400, None),
        (math.nan, None),
        ("soon", None),
        (object(), None),
        ([], None),
    ],
)
def test_retry_after_any_value_is_a_time_or_the_usual_delay(after: Any, seconds: float | None) -> None:
    assert retry_seconds(after) == seconds
    ending = ending_of_error(Retry(after=after))
    assert (ending.outcome, ending.retry_after_seconds) == ("failed", seconds)


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no message")

    __repr__ = __str__


@pytest.mark.parametrize("error", [Mute(), SystemExit(Mute()), Retry(Mute()), Reject(Mute()), Skipped(Mute())])  # type: ignore[arg-type]
def test_an_exception_that_cannot_be_shown_ends_the_attempt_all_the_same(error: BaseException) -> None:
    ending = ending_of_error(error)
    assert ending.outcome == ("skipped" if isinstance(error, Skipped) else "failed")
    assert "cannot be shown" in str(ending.error)


def with_password(password: str, row: dict[str, str] | None = None) -> None:
    """Take a secret."""


def returns_anything(x: int) -> dict[str, Any]:
    """Return names that nobody declares."""
    return {"token": x}


def takes_one(password: str) -> int:
    """Take a secret, return a number."""
    return len(password)


def test_a_secret_field_that_does_not_exist_is_refused_with_the_names_that_do() -> None:
    with pytest.raises(SettingsError, match=r"secret names pasword, .* Parameters: password\."):
        task(secret=["password", "pasword"])(takes_one)
    assert registry.REGISTRY == {}
    task(secret=["password"])(takes_one)
    task(secret=["token"])(returns_anything)
    task(secret=["inside"])(with_password)


@pytest.mark.parametrize("name", ["", " ", "a b", 5, "x" * 500])
def test_a_name_that_cannot_be_one_is_refused(name: Any) -> None:
    with pytest.raises(SettingsError, match="A task cannot be called"):
        task(name=name)(work)
    assert registry.REGISTRY == {}


def awkward(name: str) -> BaseException:
    """Return an exception whose own code raises."""

    def fail(*_values: object) -> Any:
        raise SystemExit(f"no {name}")

    if name == "type":
        named = type("Named", (type,), {"__name__": property(fail)})
        return cast(BaseException, named("Odd", (Exception,), {})("text"))
    parts = {name: property(fail) if name not in {"__getattribute__", "__str__", "__repr__", "__eq__"} else fail}
    return cast(BaseException, type("Odd", (Retry if name == "after" else Exception,), parts)("text"))


@pytest.mark.parametrize(
    "name",
    [
        "type",
        "__class__",
        "__getattribute__",
        "__str__",
        "__traceback__",
        "__cause__",
        "__context__",
        "__notes__",
        "args",
    ],
)
def test_an_exception_whose_own_code_raises_fails_the_attempt_and_nothing_else(name: str) -> None:
    try:
        raise awkward(name)
    except BaseException as error:
        ending = ending_of_error(error)
    assert ending.outcome == "failed"
    assert (ending.error or "").startswith("Odd")
    assert "awkward" in (ending.traceback or "")


@pytest.mark.parametrize("kind", [Retry, Skipped, SystemExit])
def test_an_exception_without_its_attributes_ends_the_attempt(kind: type[BaseException]) -> None:
    class Bare(kind):  # type: ignore[misc, valid-type]
        after = reason = code = property(lambda _self: 1 / 0)

        def __init__(self) -> None: ...

    assert ending_of_error(Bare()).outcome in {"failed", "skipped"}


@pytest.mark.parametrize(
    "call",
    [
        lambda: log("x", level=[]),  # type: ignore[arg-type]
        lambda: log("x", level=None),  # type: ignore[arg-type]
        lambda: once("\ud800"),
        lambda: once("a\x00"),
        lambda: once("x" * 256),
        lambda: once("x", scope="y" * 201),
        lambda: once("x", scope=[]),  # type: ignore[arg-type]
        lambda: set_setting("\ud800", 1),
        lambda: set_setting("x" * 201, 1),
        lambda: set_setting("x", math.nan),
        lambda: get_setting([]),  # type: ignore[arg-type]
        lambda: cache_set("x", 1, math.nan),
        lambda: cache_set("x", 1, math.inf),
        lambda: cache_set("x", 1, 1e300),
        lambda: cache_set("x", 1, -1),
        lambda: cache_set("x", 1, "60"),  # type: ignore[arg-type]
        lambda: cache_set("\ud800", 1, 60),
        lambda: cache_set("x", object(), 60),
        lambda: cache_get(b"x"),  # type: ignore[arg-type]
        lambda: publish("\ud800", "x"),
        lambda: publish("x", []),  # type: ignore[arg-type]
    ],
)
def test_what_the_task_api_cannot_use_is_refused_with_a_sentence(call: Callable[[], Any]) -> None:
    with pytest.raises(BadInput) as refused:
        call()
    assert refused.value.message.endswith(".")
