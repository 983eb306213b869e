"""The filter that an address and its bar ask for: what is understood, and what is not with the reason."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urlencode

from werkzeug.datastructures import MultiDict

from dashboard.zones import viewer_zone
from workers.domain import cron
from workers.domain.errors import BadInput
from workers.domain.filter_words import Problem, Words, read_words
from workers.domain.filters import LISTS, JobFilter, read_filter


@dataclass(slots=True)
class JobQuery:
    """A filter as an address holds it. `words` is text of the bar that is not understood yet."""

    args: dict[str, str]
    problems: list[Problem] = field(default_factory=list)
    words: str = ""
    is_changed: bool = False  # words were understood: the address can hold them as parts of the filter
    wanted: JobFilter = field(default_factory=JobFilter)

    def address(self, path: str, **others: str) -> str:
        """Write the address of a page with this filter."""
        kept = {**self.args, "words": self.words, **others}
        query = urlencode({name: value for name, value in kept.items() if value})
        return path + (f"?{query}" if query else "")

    def check(self) -> JobFilter:
        """Return the filter. Raises BadInput when a part of it is not understood."""
        if self.problems:
            errors = [{"field": problem.text, "message": problem.message} for problem in self.problems]
            raise BadInput(" ".join(problem.message for problem in self.problems), errors=errors)
        return self.wanted


def read_query(args: MultiDict[str, str], now: datetime, besides: Collection[str] = ()) -> JobQuery:
    """Read a filter from the parameters of an address, all but those of `besides`, and from the words of its bar."""
    zone = cron.zone(viewer_zone())
    understood, problems = _joined(args, {*besides, "words"})
    for name, message in read_filter(understood, now, zone)[1].items():
        problems.append(Problem(_as_word(name, understood.pop(name)), message))
    typed = read_words(args.get("words", ""), understood, now, zone)
    query = JobQuery(typed.args, [*problems, *typed.problems])
    query.words = " ".join(problem.text for problem in query.problems)
    query.is_changed = _is_changed(args, understood, typed)
    query.wanted = read_filter(query.args, now, zone)[0]
    return query


def _joined(args: MultiDict[str, str], besides: Collection[str]) -> tuple[dict[str, str], list[Problem]]:
    """Take parameters that are repeated as one list; of other names only one value can be meant."""
    joined: dict[str, str] = {}
    problems: list[Problem] = []
    for name in args:
        values = list(dict.fromkeys(args.getlist(name)))
        if name in besides:
            continue
        if len(values) > 1 and name not in LISTS:
            problems += [
                Problem(_as_word(name, value), f"{name} is given twice. Keep one of them.") for value in values
            ]
        else:
            joined[name] = ",".join(values)
    return joined, problems


def _is_changed(args: MultiDict[str, str], understood: dict[str, str], typed: Words) -> bool:
    return "words" in args and (typed.args != understood or not typed.problems)


def _as_word(name: str, value: str) -> str:
    value = value.replace('"', "")
    return f'{name}:"{value}"' if " " in value else f"{name}:{value}"
