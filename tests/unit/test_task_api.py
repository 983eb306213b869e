"""The task API: values of the wrong type are refused when a task is defined, and never end a running one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from workers import registry
from workers.domain.errors import SettingsError
from workers.domain.retrying import LONGEST_AFTER_SECONDS, retry_seconds
from workers.processes.endings import ending_of_error
from workers.task import Reject, Retry, Skipped, task

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
