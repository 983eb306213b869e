"""The one masker: secrets are replaced wherever a payload, an error, a log line or an address is shown or written down.

Two rules. A value is secret by the words of its key (`api_key`, `PGPASSWORD`, `{"name": "Authorization", "value": …}`), or by
its own shape (a JWT, a token of a known service, the password in a URL). Results are masked by shape alone, and where the
task declares it, so that a column called `nTokens` or `signature_date` stays what it is. All patterns take linear time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from workers.domain.errors import BadInput
from workers.domain.secret_names import is_header, is_secret

__all__ = ["MASK", "is_secret", "mask", "mask_result", "mask_text", "mask_values", "restore", "secret_values"]

MASK = "••••••"
SHORTEST_SECRET = 6
_LONGEST_JSON = 1_000_000
_DEEPEST = 40

_SHAPES = re.compile(
    r"""
      (?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?        # JSON Web Token
    | \b(?:AKIA|ASIA)[0-9A-Z]{16}\b                                        # AWS
    | \bgh[pousr]_[A-Za-z0-9]{20,} | \bgithub_pat_[A-Za-z0-9_]{20,}        # GitHub
    | \bglpat-[A-Za-z0-9_-]{16,}                                           # GitLab
    | \bxox[a-z]-[A-Za-z0-9-]{8,} | \bxapp-[A-Za-z0-9-]{8,}                # Slack
    | \b[sr]k_(?:live|test)_[A-Za-z0-9]{8,} | \bwhsec_[A-Za-z0-9+/=_-]{8,} # Stripe, Standard Webhooks
    | \bty_[A-Za-z0-9_-]{30,}                                              # Taskyard
    | \bAIza[0-9A-Za-z_-]{30,}                                             # Google
    | \bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}                         # SendGrid
    | \bsk-[A-Za-z0-9_-]{20,}                                              # OpenAI and others
    | \bnpm_[A-Za-z0-9]{30,} | \bpypi-[A-Za-z0-9_-]{30,}
    | -----BEGIN\ [A-Z\ ]{0,30}PRIVATE\ KEY-----[^-]*(?:-----END\ [A-Z\ ]{0,40}-----)?
    """,
    re.VERBOSE,
)
_WEBHOOKS = re.compile(
    r"(hooks\.slack\.com/(?:services|workflows|triggers)/|discord(?:app)?\.com/api/webhooks/|\.webhook\.office\.com/)"
    r"[^\s\"'<>]+"
)
_USERINFO = re.compile(r"(://[^\s:/@?#\"'<>]{0,200}:)[^\s/?#\"'<>]{1,300}@")
_SCHEME = re.compile(r"\b((?:bearer|basic)\s{1,3})(?=[^\s\"',;]{0,200}[0-9=+/._-])[^\s\"',;]{6,}", re.IGNORECASE)
_QUOTED = r"\"(?:[^\"\\\n]|\\.)*\"?|'(?:[^'\\\n]|\\.)*'?"
# The escaped quotes of JSON inside JSON belong to a key as plain ones do.
_KEY = re.compile(
    r"(?<![A-Za-z0-9_.])(?P<key>[A-Za-z][A-Za-z0-9_.-]{0,63})(?:\\?[\"'])?\s{0,4}(?:=>|[=:])\s{0,4}",
)
_VALUE = re.compile(
    rf"\\\"(?:[^\"\\\n]|\\(?!\"))*\\\"|{_QUOTED}|(?:(?:bearer|basic|token|digest)\s+)?[^\s\"',;&)}}\]]+",
    re.IGNORECASE,
)
_OPTION = re.compile(r"(?<!\S)(--?(?P<key>[A-Za-z][A-Za-z0-9_-]{0,63})\s{1,4})(?P<value>" + _QUOTED + r"|[^\s-]\S*)")
_HEADER_LINE = re.compile(
    r"(?P<key>\b(?:proxy-)?authorization|\b(?:set-)?cookie)(?P<sep>\\?[\"']?\s{0,4}[:=]\s{0,4})(?P<value>[^\r\n\"']{1,4000})",
    re.IGNORECASE,
)
_PLAIN_WORDS = {"none", "null", "true", "false", "is", "was"}


def mask(value: Any, secret: Collection[str] = ()) -> Any:
    """Return a copy of a JSON value with every secret replaced, by key and by shape.

    `secret` names the fields that a task has declared as secret, at any depth.
    """
    return _mask(value, frozenset(secret), by_key=True, depth=0)


def mask_result(value: Any, secret: Collection[str] = ()) -> Any:
    """Return a copy of a result: only declared fields and values with the shape of a credential are replaced."""
    return _mask(value, frozenset(secret), by_key=False, depth=0)


def mask_text(text: str) -> str:
    """Replace secrets in text: `password=…`, `Authorization: …`, `--token …`, `scheme://user:…@host`, known tokens."""
    masked = _mask_shapes(text)
    if ":" in masked or "=" in masked:
        masked = _HEADER_LINE.sub(_replace_header, masked)
        masked = _mask_pairs(masked)
    return _OPTION.sub(_replace_option, masked) if "-" in masked else masked


def mask_values(text: str, values: Collection[str]) -> str:
    """Replace these very values in text, the longest first."""
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, MASK)
    return text


def secret_values(payload: Any, secret: Collection[str] = ()) -> set[str]:
    """Return the texts of a payload that `mask` hides whole and that are long enough to be looked for in other text."""
    return set(_secrets_in(payload, frozenset(secret)))


def restore(edited: Any, stored: Any, secret: Collection[str] = ()) -> Any:
    """Return the edited value with each mask that was left in it replaced by what is stored at the same path.

    Raises BadInput, with the path, for a mask where nothing masked was shown.
    """
    return _restore(edited, stored, mask(stored, secret), "payload")


def _mask(value: Any, secret: frozenset[str], *, by_key: bool, depth: int) -> Any:
    if depth > _DEEPEST:
        return MASK
    if isinstance(value, Mapping):
        return _mask_object(value, secret, by_key, depth)
    if isinstance(value, list | tuple):
        return _mask_list(list(value), secret, by_key, depth)
    if not isinstance(value, str):
        return value
    if not by_key:
        return _mask_shapes(value)
    return _mask_string(value, secret, depth)


def _mask_object(value: Mapping[Any, Any], secret: frozenset[str], by_key: bool, depth: int) -> dict[Any, Any]:
    named = next((value[name] for name in ("name", "key", "header") if isinstance(value.get(name), str)), "")
    masked = {}
    for key, item in value.items():
        hides = str(key) in secret or (by_key and is_secret(str(key)))
        hides = hides or (by_key and str(key) in {"value", "val"} and (is_secret(named) or named in secret))
        masked[key] = MASK if hides and _is_worth(item) else _mask(item, secret, by_key=by_key, depth=depth + 1)
    return masked


def _mask_list(items: list[Any], secret: frozenset[str], by_key: bool, depth: int) -> list[Any]:
    is_header_pair = by_key and len(items) == 2 and isinstance(items[0], str) and is_header(items[0])
    if is_header_pair and _is_worth(items[1]):
        return [items[0], MASK]
    masked = [_mask(item, secret, by_key=by_key, depth=depth + 1) for item in items]
    for index in range(1, len(items)):
        option = items[index - 1]
        # An argument list such as ["mysql", "--password", "…"].
        if by_key and isinstance(option, str) and option.startswith("--") and is_secret(option.lstrip("-")):
            masked[index] = MASK
    return masked


def _mask_string(text: str, secret: frozenset[str], depth: int) -> str:
    if text[:1] in {"{", "["} and len(text) <= _LONGEST_JSON:
        try:
            inner = json.loads(text)
        except (ValueError, RecursionError):
            return mask_text(text)
        masked = _mask(inner, secret, by_key=True, depth=depth + 1)
        return text if masked == inner else json.dumps(masked, ensure_ascii=False)
    return mask_text(text)


def _mask_shapes(text: str) -> str:
    if len(text) < SHORTEST_SECRET:
        return text
    masked = _SHAPES.sub(MASK, text)
    if "://" in masked:
        masked = _USERINFO.sub(rf"\g<1>{MASK}@", masked)
    if "/" in masked:
        masked = _WEBHOOKS.sub(rf"\g<1>{MASK}", masked)
    return _SCHEME.sub(rf"\g<1>{MASK}", masked)


def _mask_pairs(text: str) -> str:
    # A key that is not secret is passed over alone: its value may hold the next key.
    pieces: list[str] = []
    start = 0
    for key in _KEY.finditer(text):
        if key.start() < start or not is_secret(key["key"]):
            continue
        value = _VALUE.match(text, key.end())
        if value is None or value[0].lower() in _PLAIN_WORDS or MASK in value[0]:
            continue
        pieces += [text[start : key.end()], _quoted_mask(value[0])]
        start = value.end()
    return "".join([*pieces, text[start:]])


def _replace_option(found: re.Match[str]) -> str:
    if not is_secret(found["key"]) or MASK in found["value"]:
        return found[0]
    return f"{found[1]}{_quoted_mask(found['value'])}"


def _replace_header(found: re.Match[str]) -> str:
    return found[0] if found["value"].strip() == MASK else f"{found['key']}{found['sep']}{MASK}"


def _quoted_mask(value: str) -> str:
    quote = r"\"" if value.startswith(r"\"") else value[:1] if value[:1] in {'"', "'"} else ""
    return f"{quote}{MASK}{quote}"


def _is_worth(value: Any) -> bool:
    return value is not None and value != "" and not isinstance(value, bool)


def _secrets_in(value: Any, secret: frozenset[str]) -> Iterator[str]:
    masked = mask(value, secret)
    yield from _hidden_texts(value, masked)


def _hidden_texts(value: Any, masked: Any) -> Iterator[str]:
    if masked == MASK and value != MASK:
        yield from (text for text in _texts(value) if len(text) >= SHORTEST_SECRET)
    elif isinstance(value, Mapping) and isinstance(masked, Mapping):
        for key in value:
            yield from _hidden_texts(value[key], masked.get(key))
    elif isinstance(value, list | tuple) and isinstance(masked, list):
        for item, shown in zip(value, masked, strict=True):
            yield from _hidden_texts(item, shown)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)


def _restore(edited: Any, stored: Any, shown: Any, path: str) -> Any:
    if isinstance(edited, str) and MASK in edited:
        if edited != shown:
            raise BadInput(
                f"{path} holds dots that stand for a hidden value. Enter the whole value, or leave it.", path
            )
        return stored
    if isinstance(edited, Mapping):
        return {key: _restore(item, _at(stored, key), _at(shown, key), f"{path}.{key}") for key, item in edited.items()}
    if isinstance(edited, list):
        return [_restore(item, _at(stored, n), _at(shown, n), f"{path}.{n}") for n, item in enumerate(edited)]
    return edited


def _at(value: Any, key: Any) -> Any:
    if isinstance(value, Mapping):
        return value.get(key)
    if isinstance(value, list) and isinstance(key, int) and key < len(value):
        return value[key]
    return None
