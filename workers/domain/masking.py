"""The one masker: what a payload, an error, a log line, an event or a result shows in place of its secrets.

Two rules decide. By name: the value under a name whose whole words are those of a secret, or that the task declares.
By shape: a value that looks like a credential, wherever it stands. Results are masked by declaration and shape only,
since their columns are data. Masking what is masked changes nothing, and no JSON makes it raise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any
from urllib.parse import quote, quote_plus

from workers.domain.secret_keys import is_count
from workers.domain.secret_keys import is_secret as is_secret_name
from workers.domain.secret_shapes import MASK, PREFIXES, mask_shapes
from workers.domain.secret_text import HINTS, is_header, mask_named

__all__ = ["MASK", "JobMasker", "is_secret", "mask", "mask_result", "mask_text", "mask_url", "may_hold_secrets"]

DEEPEST = 64
LONGEST_TEXT = 1_000_000  # characters; the middle of what is longer is left out before it is masked
SHORTEST_VALUE = 6
MOST_VALUES = 200
_LABELS = ("name", "key", "header", "field", "param", "parameter", "variable", "option", "k")
_VALUES = ("value", "val", "v", "content", "data", "default")
_SEGMENT = re.compile(
    r"(?<=/)(?=[A-Za-z_-]*\d)(?=[\d_-]*[A-Za-z])(?![0-9a-fA-F]{8}-[0-9a-fA-F]{4}-)[A-Za-z0-9_-]{20,}+(?=[/?#]|$)"
)

_MAYBE = re.compile(
    "|".join([HINTS.pattern, *(re.escape(one.lower()) for one in PREFIXES), "://|eyj|[$]|basic|nego|splunk|u00"])
)


def is_secret(name: str, declared: Collection[str] = ()) -> bool:
    """Return whether a value under this name must not be shown."""
    return name in declared or is_secret_name(name)


def mask(value: Any, declared: Collection[str] = ()) -> Any:
    """Return a copy of a JSON value with every secret masked, by name and by shape."""
    return _Walk(declared, True).value(value, 0)


def mask_result(value: Any, declared: Collection[str] = ()) -> Any:
    """Return a copy of a result with the declared fields masked, and whatever has the shape of a credential."""
    return _Walk(declared, False).value(value, 0)


def mask_text(text: str) -> str:
    """Return the text with its secrets masked."""
    if len(text) < SHORTEST_VALUE or (len(text) < 16 and text.isalnum()):
        return text
    if len(text) > LONGEST_TEXT:
        half = LONGEST_TEXT // 2
        text = f"{text[:half]}\n… {len(text) - LONGEST_TEXT:,} characters left out …\n{text[-half:]}"
    return mask_named(mask_shapes(text))


def mask_url(url: str) -> str:
    """Return an address with its credentials masked: user, secret parameters, and parts of the path that look random."""
    address, mark, rest = mask_text(url).partition("?")
    return _SEGMENT.sub(MASK, address) + mark + rest


def may_hold_secrets(text: str) -> bool:
    """Return whether `mask` could change the value that is written as this JSON text; False is certain."""
    return not text.isascii() or bool(_MAYBE.search(text.lower()))


class _Walk:
    """One way through a value; `by_name` says whether the words of names count, beside those that are declared."""

    def __init__(self, declared: Collection[str], by_name: bool) -> None:
        self._declared, self._by_name = declared, by_name

    def value(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            return self._text(value, depth)
        if isinstance(value, dict):
            return MASK if depth > DEEPEST else self._object(value, depth)
        if isinstance(value, list | tuple):
            return MASK if depth > DEEPEST else self._list(value, depth)
        return value

    def _is_secret(self, name: object) -> bool:
        text = name if isinstance(name, str) else str(name)
        return text in self._declared or (self._by_name and is_secret_name(text))

    def _hidden(self, name: object, value: Any, depth: int) -> Any:
        if value is None or isinstance(value, bool) or value == "" or value == [] or value == {}:
            return value
        text = str(name)
        if text not in self._declared and is_count(text):
            is_number = isinstance(value, int | float)
            is_plain_session = isinstance(value, dict | list) and text.lower().endswith("session")
            if is_number or is_plain_session:
                return self.value(value, depth + 1)
        return MASK

    def _object(self, value: dict[Any, Any], depth: int) -> dict[Any, Any]:
        masked = {
            name: self._hidden(name, item, depth) if self._is_secret(name) else self.value(item, depth + 1)
            for name, item in value.items()
        }
        label = next((value[name] for name in _LABELS if isinstance(value.get(name), str)), None)
        if label is not None and self._is_secret(label):
            masked |= {name: self._hidden(label, value[name], depth) for name in _VALUES if name in value}
        return masked

    def _list(self, value: list[Any] | tuple[Any, ...], depth: int) -> list[Any]:
        if self._by_name and _is_pair(value) and is_header(value[0]):
            return self._pair(value, depth)
        if len(value) > 0 and all(_is_pair(item) for item in value):
            return [self._pair(item, depth) for item in value]
        masked = [self.value(item, depth + 1) for item in value]
        for index, item in enumerate(value[:-1]):
            is_option = isinstance(item, str) and item.startswith("-") and "=" not in item and self._is_secret(item)
            following = value[index + 1]
            if is_option and isinstance(following, str) and not following.startswith("-"):
                masked[index + 1] = self._hidden(item, following, depth)
        return masked

    def _pair(self, pair: list[Any] | tuple[Any, ...], depth: int) -> list[Any]:
        name, item = pair
        return [name, self._hidden(name, item, depth) if self._is_secret(name) else self.value(item, depth + 2)]

    def _text(self, text: str, depth: int) -> str:
        if self._by_name and len(text) > 6 and text[0] in "{[" and text[-1] in "}]" and depth < 8:
            opened = _opened(text)
            masked = self.value(opened, depth + 1)
            if opened is not None and masked != opened:
                return json.dumps(masked, ensure_ascii=False)
        return mask_text(text)


def _is_pair(item: Any) -> bool:
    return isinstance(item, list | tuple) and len(item) == 2 and isinstance(item[0], str)


def _opened(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


class JobMasker:
    """Masks what one job says: beside names and shapes, the values of its own secrets, however they are written."""

    def __init__(self, payload: Any, declared: Collection[str] = ()) -> None:
        self._declared = frozenset(declared)
        values = sorted(secret_values(payload, self._declared), key=len, reverse=True)[:MOST_VALUES]
        spelled = dict.fromkeys(form for value in values for form in _spellings(value))
        ordered = sorted(spelled, key=len, reverse=True)
        self._values = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    @classmethod
    def of_payload(cls, text: str, declared: Collection[str] = ()) -> JobMasker:
        """Make the masker of a job from its payload as it is stored; cheap when that holds no secret."""
        return cls(json.loads(text) if declared or may_hold_secrets(text) else None, declared)

    def text(self, text: str) -> str:
        """Return the text masked."""
        if self._values is not None:
            text = self._values.sub(MASK, text)
        return mask_text(text)

    def value(self, value: Any) -> Any:
        """Return a JSON value masked."""
        return self._replaced(mask(value, self._declared)) if self._values else mask(value, self._declared)

    def _replaced(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._values.sub(MASK, value) if self._values else value
        if isinstance(value, dict):
            return {self._replaced(name): self._replaced(item) for name, item in value.items()}
        return [self._replaced(item) for item in value] if isinstance(value, list) else value


def secret_values(value: Any, declared: Collection[str] = ()) -> set[str]:
    """Return the secret values of a payload that are long enough to be looked for in text."""
    found: set[str] = set()
    _collect(value, mask(value, declared), found)
    return {one for one in found if len(one) >= SHORTEST_VALUE and MASK not in one}


def _collect(value: Any, shown: Any, found: set[str]) -> None:
    if isinstance(value, str) and shown != value:
        found |= _hidden_parts(value, shown)
    elif isinstance(value, dict) and isinstance(shown, dict):
        for name, item in value.items():
            _collect(item, shown.get(name), found)
    elif isinstance(value, list | tuple) and isinstance(shown, list):
        for item, masked in zip(value, shown, strict=False):
            _collect(item, masked, found)
    elif isinstance(value, dict | list | tuple) and shown == MASK:
        for item in value.values() if isinstance(value, dict) else value:
            _collect(item, MASK, found)
    elif isinstance(value, int | float) and shown == MASK:
        found.add(str(value))


def _hidden_parts(value: str, shown: Any) -> set[str]:
    """Return what stands where the masks are: the whole value, or the password within an address."""
    if not isinstance(shown, str) or shown == MASK:
        return {value}
    pattern = "(.*)".join(map(re.escape, shown.split(MASK)))
    found = re.fullmatch(pattern, value, re.DOTALL) if shown.count(MASK) <= 3 else None
    return set(found.groups()) if found else {value}


def _spellings(value: str) -> list[str]:
    escaped = json.dumps(value)[1:-1]
    return [
        value,
        escaped,
        json.dumps(value, ensure_ascii=False)[1:-1],
        repr(value)[1:-1],
        quote(value),
        quote_plus(value),
    ]
