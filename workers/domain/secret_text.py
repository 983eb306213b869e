"""Secrets in running text: `password = "my secret"`, `Authorization: …`, `--token x`, `{'pw': 'x'}`, `?sig=…`.

The text is read once from left to right; what is looked at around each name has a bound.
"""

from __future__ import annotations

import re

from workers.domain.secret_keys import is_secret, is_weak
from workers.domain.secret_shapes import MASK

_LONGEST_QUOTED = 8_000
MOST = 5_000  # secrets in one text; whatever follows them is left out
HINTS = re.compile(
    "pass pw wort secret token auth bearer jwt cookie session sessid cred signature cvv cvc cvn otp pin csrf xsrf hmac "
    "key code card number sig= senha contras парол 密码 ｐ".replace(" ", "|")
)
# A name, what ends its quotes, and what stands between it and its value.
_NAMED = re.compile(
    r"(?<![\w.-])(?:(?P<option>--?[A-Za-z][\w.-]*+)(?P<gap>[ \t]+(?![-=:])|[\"'],\s{0,4}(?=[\"']))"
    r"|(?P<name>[\w.-]++)(?P<between>\]?(?:\\{0,3}[\"'])?\]?\s{0,4}(?:=>|:=|={1,3}|:|%3[dDaA]|>(?=[^\s<>])|is(?= ))\s{0,4}|(?:\\?[\"']),\s{0,4}(?=b?\\?[\"'])))"
)
_LABELED = re.compile(
    r"(?i)(?<![\w.-])(?:name|key|header|field|param|variable|k)\\?[\"']?\s{0,4}[:=]\s{0,4}\\?[\"']?"
    r"(?P<name>[\w.-]{2,100}+)\\?[\"']?\s{0,4},\s{0,4}\\?[\"']?(?:value|val|v|content)\\?[\"']?\s{0,4}[:=]\s{0,4}"
)
_INPUT = re.compile(r"(?m)^(?P<name>[\w.\[\]-]{2,100}+)\n[ \t]{1,8}[^\n]{0,400}?input_value=")
_BEFORE = re.compile(r"([A-Za-z]{2,20})[ _-]$")
_JOINS = frozenset("key keys token code phrase word id number secret".split())
_HEADERS = frozenset("authorization proxy-authorization cookie set-cookie set-cookie2 x-authorization".split())
_PREFIX = re.compile(r"[bBrRuUfF]{0,2}(?=\\{0,3}[\"'])")
_QUOTED = {
    '"': re.compile(r'"((?:[^"\\]|\\.){0,8000}+)"', re.DOTALL),
    "'": re.compile(r"'((?:[^'\\]|\\.){0,8000}+)'", re.DOTALL),
}
_TRIPLE = re.compile(r"(\"\"\"|''')(.{0,8000}?)\1", re.DOTALL)
_ESCAPED = re.compile(r"(\\{1,3}[\"'])(.{0,8000}?)\1", re.DOTALL)
_GROUP = re.compile(r"\([^()\n]{0,2000}+\)|\[[^\[\]\n]{0,2000}+\]|\{[^{}\n]{0,2000}+\}")
_SCHEME = re.compile(r"(?i)(?:bearer|basic|token|digest|negotiate|apikey)[ \t]+(?=\S)")
_REST_OF_LINE = re.compile(r"(?:[^\r\n\"'\\]|\\(?![rn\"'])|(?<=[\w=])[\"'](?=\w))*+")
_PLAIN = re.compile(r"(?:[^\s\"'&;,)\]}>|<\\]|\\(?![rn\"'])|[&;,)\]}>|<](?!\s|$|[\"']|[\w.\-]{1,40}=)|[\"'](?=\w))*+")
_LINE_START = re.compile(r"(?:^|\n)[ \t]{0,40}(?:- )?[\"']?$")
_LINE = re.compile(r"[^\r\n]*+")
_NUMBER = re.compile(r"[-+]?[\d.,_]+%?$")
_NOTHING = frozenset("none null nil true false undefined yes no n/a ...".split()) | {""}


def mask_named(text: str) -> str:
    """Replace the values that stand beside secret names; the same text when there are none."""
    if not HINTS.search(text.lower()):
        return text
    text = _each(_LABELED, text)
    if "input_value=" in text:
        text = _each(_INPUT, text)
    return _each(_NAMED, text)


def _each(pattern: re.Pattern[str], text: str) -> str:
    parts: list[str] = []
    place = done = count = 0
    while found := pattern.search(text, place):
        place = found.end()
        if not _names_a_secret(found, text):
            # A separator may end one name and begin another: `a: password: x`.
            place = max(found.start() + 1, found.end())
            continue
        begin, end, shown = _value(found, text)
        if begin < end:
            parts += [text[done:begin], shown]
            done = end
        place = max(place, end)
        count += 1
        if count >= MOST:
            return "".join([*parts, text[done:place], MASK])
    return "".join([*parts, text[done:]]) if parts else text


def _name(found: re.Match[str]) -> str:
    groups = found.groupdict()
    return groups.get("option") or groups["name"]


def _names_a_secret(found: re.Match[str], text: str) -> bool:
    name = _name(found)
    groups = found.groupdict()
    if groups.get("gap") is not None:
        return is_secret(name)
    between = groups.get("between") or ":"
    if between.lstrip("\\\"']")[:1] == ",":
        return is_header(name)
    if between == ">" and text[found.start("name") - 1 : found.start("name")] != "<":
        return False
    if is_secret(name):
        return not (is_weak(name) and between.strip() == ":" and not is_header(name))
    start = found.start("name")
    if name.lower() == "sig":
        return text[start - 1 : start] in {"?", "&"}
    if name.lower() not in _JOINS:
        return False
    before = _BEFORE.search(text, max(0, start - 24), start)
    return before is not None and is_secret(f"{before[1]}_{name}")


def is_header(name: str) -> bool:
    """Return whether this is the name of an HTTP header that carries a credential."""
    lower = name.lower()
    return lower in _HEADERS or ("-" in lower.strip("-") and is_secret(name))


def _value(found: re.Match[str], text: str) -> tuple[int, int, str]:
    """Find where the value begins and ends, and what is shown in its place."""
    start = found.end()
    prefix = _PREFIX.match(text, start)
    place = prefix.end() if prefix else start
    quote = _within_quotes(text, place)
    if quote is not None:
        return _kept(found, text, *quote)
    if text[start : start + 1] in {"(", "[", "{"}:
        group = _GROUP.match(text, start)
        return (start, group.end(), MASK) if group else (start, _end(_LINE, text, start), MASK)
    if _name(found).lower() in _HEADERS:
        return _kept(found, text, start, _end(_REST_OF_LINE, text, start))
    scheme = _SCHEME.match(text, start)
    begin = scheme.end() if scheme else start
    end = _end(_PLAIN, text, begin)
    if _is_yaml(found, text):
        end = max(end, _end(_REST_OF_LINE, text, begin))
    return _kept(found, text, begin, end)


def _within_quotes(text: str, place: int) -> tuple[int, int] | None:
    for pattern in (_TRIPLE, _ESCAPED):
        found = pattern.match(text, place)
        if found:
            return found.span(2)
    quote = text[place : place + 1]
    if quote not in _QUOTED:
        return None
    found = _QUOTED[quote].match(text, place)
    return found.span(1) if found else (place + 1, _end(_LINE, text, place + 1))


def _is_yaml(found: re.Match[str], text: str) -> bool:
    groups = found.groupdict()
    between = groups.get("between") or ""
    start = found.start("name") if groups.get("name") else 0
    is_colon = between.endswith(" ") and between.strip("\"' ") == ":"
    return is_colon and bool(_LINE_START.search(text, max(0, start - 60), start))


def _kept(found: re.Match[str], text: str, begin: int, end: int) -> tuple[int, int, str]:
    value = text[begin:end].strip()
    name = _name(found)
    is_fact = value.lower() in _NOTHING or (is_weak(name) and bool(_NUMBER.match(value)))
    # Lines of source in a traceback: `token=token`, `password=self.password`.
    is_source = value == name or (
        "." in value and value.replace(".", "").replace("_", "").isidentifier() and is_secret(value)
    )
    if is_fact or (is_source and not any(one.isdigit() for one in value)):
        return begin, begin, ""
    return begin, end, MASK


def _end(pattern: re.Pattern[str], text: str, place: int) -> int:
    found = pattern.match(text, place)
    return found.end() if found else place
