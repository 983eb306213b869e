"""What text from outside may hold: every character that UTF-8 and both databases can keep."""

from __future__ import annotations

from typing import Any

from workers.domain.errors import BadInput

MAX_SHOWN = 2_000  # characters of an object that is shown as text


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


def safe_text(value: object, longest: int = MAX_SHOWN) -> str:
    """Return `str(value)`, shortened; a placeholder when the object's own method raises."""
    return _described(str, value, longest)


def safe_repr(value: object, longest: int = MAX_SHOWN) -> str:
    """Return `repr(value)`, shortened; a placeholder when the object's own method raises."""
    return _described(repr, value, longest)


def storable(text: str) -> str:
    """Return a text without what a database cannot store: NUL and halves of surrogate pairs are replaced."""
    return str(text).replace("\x00", "\N{SYMBOL FOR NULL}").encode(errors="replace").decode()


def _described(describe: Any, value: object, longest: int) -> str:
    try:
        text = str(describe(value))
    except BaseException:  # the method is the task's own code
        text = f"<{type(value).__qualname__} that cannot be shown>"
    text = storable(text)
    return text if len(text) <= longest else text[: longest - 1] + "…"
