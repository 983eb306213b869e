"""Secrets are masked by the name of their key, wherever a payload, a header or a log line is shown."""

from __future__ import annotations

import re
from typing import Any

MASK = "••••••"
_KEY = re.compile(
    r"pass(word|wd|phrase)?$|secret|token|api[-_]?key|authorization|cookie|credential|private[-_]?key|signature|\bpin\b|cvv|card[-_]?number",
    re.IGNORECASE,
)
_IN_TEXT = re.compile(
    r"""(?ix) \b ( [a-z0-9_-]*
    (?: password | passwd | passphrase | secret | token | api[-_]?key | authorization | cookie | credential ) [a-z0-9_-]* )
    (["']?\s*[=:]\s*["']?) ( (?:bearer|basic|token)\s+[^\s"',;&]+ | [^\s"',;&]+ )"""
)
_URL_SECRET = re.compile(r"(://[^/\s:@]*:)([^@/\s]+)(@)")


def is_secret(key: str) -> bool:
    """Tell whether a value under this key must not be shown."""
    return bool(_KEY.search(key))


def mask(value: Any) -> Any:
    """Copy a JSON value with every secret replaced by dots."""
    if isinstance(value, dict):
        return {
            key: MASK if is_secret(str(key)) and item not in (None, "") else mask(item) for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [mask(item) for item in value]
    return mask_text(value) if isinstance(value, str) and "://" in value else value


def mask_text(text: str) -> str:
    """Replace secrets in a line of text: `password=…`, `Authorization: …`, `scheme://user:…@host`."""
    if "=" not in text and ":" not in text:
        return text
    masked = _IN_TEXT.sub(lambda found: f"{found[1]}{found[2]}{MASK}", text)
    return _URL_SECRET.sub(rf"\g<1>{MASK}\g<3>", masked)
