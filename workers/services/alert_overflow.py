"""The causes of a rule beyond the number of alerts that it may have open: one alert counts and names them."""

from __future__ import annotations

from collections.abc import Sequence

from workers.domain.plurals import counted
from workers.services.facts import Found, about_of
from workers.store.types import Row

MOST_OPEN_PER_RULE = 50
MORE = "(more)"  # what the alert is about that counts them; no queue, task, job or schedule has this name
_MOST_NAMED = 5


def fold(rule: Row, causes: Sequence[Found], open_alerts: Sequence[Row]) -> list[Found]:
    """Return the causes that have an alert or get one, and one cause in place of those for which there is no room.

    Causes with an open alert keep it.
    """
    if len(causes) <= MOST_OPEN_PER_RULE:
        return [*causes]
    abouts = {about_of(alert) for alert in open_alerts if alert["rule_id"] == rule["id"]}
    first = [one for one in causes if one.about in abouts]
    others = [one for one in causes if one.about not in abouts]
    # What is open and not found any more needs its place until it is closed.
    taken = len(abouts - {MORE})
    room = max(0, MOST_OPEN_PER_RULE - taken)
    rest = others[room:]
    return [*first, *others[:room], *([_more(rule, rest)] if rest else [])]


def _more(rule: Row, rest: Sequence[Found]) -> Found:
    named = "; ".join(one.title for one in rest[:_MOST_NAMED])
    further = f"; and {len(rest) - _MOST_NAMED:,} more" if len(rest) > _MOST_NAMED else ""
    return Found(
        MORE,
        max(one.value for one in rest),
        f"{rule['name']}: {counted(len(rest), 'more cause')}",
        f"{MOST_OPEN_PER_RULE} alerts of this rule are open already. These have none of their own: {named}{further}"[
            :1000
        ],
        rest[0].link,
    )
