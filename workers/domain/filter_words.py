"""The filter bar: words such as `status:failed,completed -task:monitor.* since:yesterday "timeout"`, read into a filter.

Nothing is dropped: a word that is not understood comes back with the reason and what can be written instead.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo

from workers.domain.filters import LISTS, MAX_SEARCH_CHARACTERS, NAMES, read_filter

MOST_WORDS = 50
MOST_CHARACTERS = 2_000
_WORD = re.compile(
    r'(?P<name>-?[^\s":]+):(?P<value>"[^"]*"|(?:[^\s",]|\s*,\s*)*)'
    r'|"(?P<quoted>[^"]*)"|(?P<open>".*)|(?P<plain>[^\s"]+)',
    re.DOTALL,
)
_SEARCH = "To search for this text, put it in double quotes."


@dataclass(frozen=True, slots=True)
class Problem:
    """A word that is not understood, and why."""

    text: str
    message: str


@dataclass(slots=True)
class Words:
    """What a bar holds: the parts of the filter by name, and the words that are not understood."""

    args: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    _named: dict[str, str] = field(default_factory=dict)  # names of single values: the words that they come from
    _free: list[str] = field(default_factory=list)

    @property
    def rest(self) -> str:
        """Write the words that are not understood as they were typed."""
        return " ".join(problem.text for problem in self.problems)

    def refuse(self, text: str, message: str) -> None:
        """Note a word that is not understood."""
        self.problems.append(Problem(text, message))

    def refuse_both(self, name: str, text: str, message: str) -> None:
        """Note a word that contradicts an earlier one of the same bar: neither is understood."""
        if name in self.args:
            self.refuse(self._named[name], message)
            del self.args[name]
        self.refuse(text, message)


def read_words(text: str, args: Mapping[str, str], now: datetime, zone: tzinfo = UTC) -> Words:
    """Add the words of a bar to a filter. Values of a list are added to it; another value replaces the earlier one."""
    found = Words(dict(args))
    if len(text) > MOST_CHARACTERS:
        found.refuse(text[:MOST_CHARACTERS], f"A filter has at most {MOST_CHARACTERS:,} characters.")
        return found
    for count, match in enumerate(_WORD.finditer(text)):
        if count >= MOST_WORDS:
            found.refuse(text[match.start() :].strip(), f"A filter has at most {MOST_WORDS} parts.")
            break
        _take(found, match, now, zone)
    _search_for(found)
    return found


def _take(found: Words, match: re.Match[str], now: datetime, zone: tzinfo) -> None:
    if match["name"] is not None:
        _take_named(found, match, now, zone)
    elif match["quoted"] is not None:
        if match["quoted"].strip():
            found._free.append(match["quoted"])
    elif match["open"] is not None:
        found.refuse(match[0], "The closing quotation mark is missing.")
    elif match["plain"].startswith("-"):
        found.refuse(match[0], f"To exclude something, name it: -task:reports.*, -queue:emails. {_SEARCH}")
    else:
        found._free.append(match["plain"])


def _take_named(found: Words, match: re.Match[str], now: datetime, zone: tzinfo) -> None:
    name, value, text = match["name"].lower(), match["value"].strip('"').strip(), match[0]
    is_excluding = name.startswith("-")
    name = name.removeprefix("-")
    if name not in NAMES:
        found.refuse(text, f"Unknown filter '{name[:60]}'. Use one of: {', '.join(NAMES)}. {_SEARCH}")
        return
    if is_excluding and name not in LISTS:
        found.refuse(text, f"{name} cannot be excluded. These can: {', '.join(LISTS)}.")
        return
    if name not in LISTS and name in found._named:
        found.refuse_both(name, text, f"{name} is written twice. Keep one of them.")
        return
    if is_excluding:
        value = ",".join(f"-{part.strip()}" for part in value.split(",") if part.strip())
    problem = read_filter({name: value}, now, zone)[1]
    if problem:
        found.refuse(text, problem[name])
        return
    found._named[name] = text
    found.args[name] = _joined(found.args.get(name, ""), value) if name in LISTS else value


def _joined(before: str, added: str) -> str:
    parts = [part.strip() for part in f"{before},{added}".split(",")]
    return ",".join(dict.fromkeys(filter(None, parts)))


def _search_for(found: Words) -> None:
    if not found._free:
        return
    words = " ".join(found._free)
    if len(words) > MAX_SEARCH_CHARACTERS:
        message = f"A search has at most {MAX_SEARCH_CHARACTERS} characters; this one has {len(words):,}."
        found.refuse(words, message)
    elif "q" in found._named:
        found.refuse_both("q", words, "q and words without a name are both a search. Keep one of them.")
    else:
        found.args["q"] = words
