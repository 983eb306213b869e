"""What text from outside may hold: every character that UTF-8 and both databases can keep."""

from __future__ import annotations

import reprlib
import traceback
from typing import Any

from workers.domain.errors import BadInput

MAX_SHOWN = 2_000  # characters of an object that is shown as text
MAX_TYPE_NAME = 200
_CONTAINERS = (list, tuple, dict, set, frozenset)


def _bounded() -> Any:
    # A list of a few lists, each of which is there a thousand times, has a text of gigabytes.
    bounded = reprlib.Repr()
    bounded.maxlevel, bounded.maxstring, bounded.maxother, bounded.maxlong = 4, MAX_SHOWN, MAX_SHOWN, MAX_SHOWN
    bounded.maxlist = bounded.maxtuple = bounded.maxdict = bounded.maxset = bounded.maxfrozenset = 20
    return bounded.repr


_repr = _bounded()


def text_fault(text: str) -> str | None:
    """Return why a text cannot be kept, as the end of a sentence; None when it can.

    PostgreSQL text cannot hold NUL, and a lone surrogate cannot be written as UTF-8.
    """
    if "\x00" in text:
        return "holds a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "holds half of a surrogate pair, which is not valid Unicode"
    return None


def check_text(text: str, field: str, longest: int | None = None) -> str:
    """Return a text that can be kept, or refuse it with BadInput."""
    if not isinstance(text, str):
        raise BadInput(f"{field} must be text.", field=field)
    fault = text_fault(text)
    if fault is not None:
        raise BadInput(f"{field} {fault}. Remove it.", field=field)
    if longest is not None and len(text) > longest:
        raise BadInput(f"{field} has at most {longest:,} characters; this one has {len(text):,}.", field=field)
    return text


def quoted(text: str, longest: int = 60) -> str:
    """Return a text for a message: shortened, with what cannot be printed escaped."""
    shown = text if len(text) <= longest else text[:longest] + "…"
    return repr(shown)


def is_of(value: object, kinds: Any) -> bool:
    """Return whether the type of a value is one of these, without asking the value: its `__class__` may raise."""
    return issubclass(type(value), kinds)


def type_name(kind: type) -> str:
    """Return the qualified name of a type, without asking its metaclass."""
    return storable(str(type.__dict__["__qualname__"].__get__(kind)))[:MAX_TYPE_NAME]


def describe_error(error: BaseException, longest: int = MAX_SHOWN) -> str:
    """Return the type and the text of an exception, whatever its own methods raise."""
    name, text = type_name(type(error)).rpartition(".")[2], safe_text(error, longest)
    return f"{name}: {text}" if text else name


def format_error(error: BaseException, trace: Any) -> str:
    """Return the traceback of an exception as Python writes it; of one whose own code raises, the frames and its name."""
    try:
        return "".join(traceback.format_exception(type(error), error, trace, limit=-100))
    except BaseException:  # its methods are the task's own code
        pass
    try:
        lines = traceback.format_tb(trace, limit=-100)
    except BaseException:  # a frame's module may have a loader of its own
        lines = []
    return "".join(["Traceback (most recent call last):\n", *lines, f"{describe_error(error)}\n"])


def traceback_of(error: BaseException) -> Any:
    """Return the traceback of an exception: not its attribute, which its class may have replaced."""
    return BaseException.__dict__["__traceback__"].__get__(error)


def read_safely(value: object, name: str) -> Any:
    """Return an attribute of an object; None when it has none, or its own code raises."""
    try:
        return getattr(value, name)
    except BaseException:
        return None


def safe_text(value: object, longest: int = MAX_SHOWN) -> str:
    """Return `str(value)`, shortened; a placeholder when the object's own method raises."""
    return _described(str, value, longest)


def safe_repr(value: object, longest: int = MAX_SHOWN) -> str:
    """Return `repr(value)`, shortened; a placeholder when the object's own method raises."""
    return _described(_repr if is_of(value, _CONTAINERS) else repr, value, longest)


def storable(text: str) -> str:
    """Return a text without what a database cannot store: NUL and halves of surrogate pairs are replaced."""
    return str(text).replace("\x00", "\N{SYMBOL FOR NULL}").encode(errors="replace").decode()


def _described(describe: Any, value: object, longest: int) -> str:
    try:
        text = str(describe(value))
    except BaseException:  # the method is the task's own code
        text = f"<{type_name(type(value))} that cannot be shown>"
    text = storable(text)
    return text if len(text) <= longest else text[: longest - 1] + "…"
