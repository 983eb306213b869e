"""Refuses scopes of alert rules that no name can match: `*`, `?` and `[…]` stand for letters, all others for themselves."""

from __future__ import annotations

import re
import string
from fnmatch import translate

from workers.domain.errors import BadInput
from workers.domain.names import check_queue, check_task
from workers.domain.untrusted import check_label

_IDENTIFIER = string.ascii_letters + string.digits + "_."
_LETTERS = {"queue": _IDENTIFIER + "-", "task": _IDENTIFIER}  # of a schedule: whatever can be seen
_LONGEST = {"queue": 64, "task": 200, "schedule": 100}
_SEEN = "".join(chr(code) for code in range(0x20, 0x3100))
_WILD = re.compile(r"\*|\?|\[!?\]?[^\]]*\]")


def why_never(kind: str, scope: str) -> str:
    """Return why no queue, task or schedule can have a name that a scope matches; empty when one can."""
    if not _WILD.search(scope):
        return _why_no_name(kind, scope)
    needed = 0
    for part in _parts(scope):
        needed += part != "*"
        if part not in {"*", "?"} and not _matches_letter(kind, part):
            return f"no name of a {kind} has a character that {part} matches{_hint(part)}"
    if needed > _LONGEST[kind]:
        return f"the name of a {kind} has at most {_LONGEST[kind]} characters, and this scope needs {needed}"
    return ""


def _parts(scope: str) -> list[str]:
    """Split a pattern into its wildcards and its letters."""
    return re.findall(rf"{_WILD.pattern}|.", scope, re.DOTALL)


def _matches_letter(kind: str, part: str) -> bool:
    pattern = re.compile(translate(part))
    letters = _LETTERS.get(kind) or _SEEN + part
    return any(pattern.match(letter) for letter in letters)


def _why_no_name(kind: str, scope: str) -> str:
    try:
        if kind == "schedule":
            label = check_label(scope, _LONGEST[kind])
            return "" if label == scope else "the name of a schedule neither begins nor ends with a space"
        {"queue": check_queue, "task": check_task}[kind](scope)
    except BadInput as error:
        return f"no {kind} can have such a name. {error.message.rstrip('.')}{_hint(scope)}"
    return ""


def _hint(part: str) -> str:
    return ". Close the bracket: [abc]" if "[" in part and "]" not in part else ""
