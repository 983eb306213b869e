"""The filter bar as the page shows it: a chip for each value, tabs with counts, suggestions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dashboard.presenters.words import compact
from workers.domain.filter_values import STATUSES, STUCK
from workers.domain.filters import LISTS, NAMES
from workers.services.job_filters import ALL, Count

_OPTIONS = {"status": STATUSES, "priority": ("high", "normal", "low"), "include": ("system",)}
_EXAMPLES = ("task:reports.*", "-task:reports.*", "queue:emails", "worker:", '"timeout"')
_TIMES = ("since:2h", "since:today", "created:yesterday", 'created:"last week"', "until:2026-01-31")


@dataclass(frozen=True, slots=True)
class Chip:
    """One value of the filter; `rest` is what its name keeps when the value is removed."""

    name: str
    value: str
    rest: str
    is_excluding: bool = False


@dataclass(frozen=True, slots=True)
class Tab:
    """One state to choose, with how many jobs of the filter are in it."""

    state: str
    label: str
    count: str
    is_current: bool


def chips(args: Mapping[str, str]) -> list[Chip]:
    """Return a chip for each value, without the one state that a tab shows."""
    found: list[Chip] = []
    for name, text in args.items():
        values = [part.strip() for part in text.split(",") if part.strip()] if name in LISTS else [text]
        if name == "status" and _only_state(args):
            continue
        for value in values:
            rest = ",".join(other for other in values if other != value)
            is_excluding = name in LISTS and value.startswith("-")
            found.append(Chip(name, value.removeprefix("-") if is_excluding else value, rest, is_excluding))
    return found


def tabs(counts: Mapping[str, Count], args: Mapping[str, str]) -> list[Tab]:
    """Return the tabs: all, each state in the order of a job's life, stuck beside processing."""
    chosen = _only_state(args) if args.get("status") else ALL
    return [Tab(state, _label(state), written(counts[state]), state == chosen) for state in order()]


def order() -> list[str]:
    """Return the states in the order of the tabs; stuck stands beside processing."""
    states = [state for state in STATUSES if state != STUCK]
    place = states.index("processing") + 1
    return [ALL, *states[:place], STUCK, *states[place:]]


def written(count: Count) -> str:
    """Write a count in little room: `1,204`, `24.9K`, `2K+` when there are more than were counted."""
    if count.is_capped:
        return f"{count.number // 1000}K+"
    return compact(count.number)


def options(word: str) -> Sequence[str]:
    """Return the values that a word such as `status:bogus` could have; none when they are not a short list."""
    return _OPTIONS.get(word.removeprefix("-").partition(":")[0].lower(), ())


def suggestions() -> list[str]:
    """Return words that can be typed into the bar."""
    listed = [f"{name}:{value}" for name, values in _OPTIONS.items() for value in values]
    return [*listed, *_EXAMPLES, *_TIMES]


def name_of(word: str) -> str:
    """Return the name in a word of the bar, if it is the name of a filter."""
    name = word.removeprefix("-").partition(":")[0].lower()
    return name if name in NAMES else ""


def _only_state(args: Mapping[str, str]) -> str:
    status = args.get("status", "").strip().strip(",").lower()
    return status if status in STATUSES else ""


def _label(state: str) -> str:
    return "All" if state == ALL else state.replace("_", " ").capitalize()
