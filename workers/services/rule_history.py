"""What a rule was when an alert was last seen: whether its cause is gone, or the rule was changed since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from workers.domain.alarms import KINDS, said
from workers.domain.staleness import spoken
from workers.services import audit
from workers.store.types import Row

_JUDGED_BY = ("threshold", "window_seconds", "scope")


@dataclass(frozen=True, slots=True)
class Former:
    """A rule as it was when an alert of it was last seen, and who has changed what since."""

    rule: Row
    actors: Mapping[str, str]  # by the name of what was changed


def formers(connection: Connection, rules: Sequence[Row], alerts: Sequence[Row]) -> dict[str, Former]:
    """Return the former rules of open alerts, by alert: of those whose rule was changed after they were last seen."""
    by_id = {rule["id"]: rule for rule in rules}
    changed = [alert for alert in alerts if _is_changed(by_id.get(alert["rule_id"]), alert)]
    if not changed:
        return {}
    ids = {alert["rule_id"] for alert in changed}
    edits = audit.edits_since(connection, "alert_rule", ids, min(alert["last_at"] for alert in changed))
    return {alert["id"]: _former(by_id[alert["rule_id"]], alert, edits) for alert in changed}


def why_disabled(rule: Row, actor: str) -> str:
    """Say that a rule was disabled."""
    return f"The rule {rule['name']!r} was disabled{_by(actor)}."


def why_deleted(name: str, actor: str) -> str:
    """Say that a rule was deleted."""
    return f"The rule {name!r} was deleted{_by(actor)}."


def why_changed(rule: Row, former: Former) -> str:
    """Say what was changed of a rule since an alert was last seen; empty when nothing was that it is judged by."""
    kind, before = KINDS[rule["kind"]], former.rule
    sentences = []
    if rule["threshold"] != before["threshold"]:
        verb = "raised" if rule["threshold"] > before["threshold"] else "lowered"
        limits = f"from {said(before['threshold'], kind.unit)} to {said(rule['threshold'], kind.unit)}"
        who = _by(former.actors.get("threshold", ""))
        sentences.append(f"The limit of the rule {rule['name']!r} was {verb} {limits}{who}.")
    if rule["window_seconds"] != before["window_seconds"]:
        who = _by(former.actors.get("window_seconds", ""))
        window = spoken(rule["window_seconds"])
        sentences.append(f"The window of the rule {rule['name']!r} was changed to {window}{who}.")
    if rule["scope"] != before["scope"]:
        who = _by(former.actors.get("scope", ""))
        scope = repr(rule["scope"]) if rule["scope"] else f"every {kind.scoped_by}"
        sentences.append(f"The scope of the rule {rule['name']!r} was changed to {scope}{who}.")
    return " ".join(sentences)


def _is_changed(rule: Row | None, alert: Row) -> bool:
    if rule is None:
        return False
    return bool(rule["updated_at"] > alert["last_at"] or rule["threshold"] != alert["threshold"])


def _former(rule: Row, alert: Row, edits: Sequence[Row]) -> Former:
    before: dict[str, Any] = {}
    actors: dict[str, str] = {}
    for edit in edits:
        if edit["target_id"] != rule["id"] or edit["at"] <= alert["last_at"]:
            continue
        actors |= dict.fromkeys(edit["after"], audit.actor_of(edit))
        before = {**edit["before"], **before}  # the first edit knows what was there
    judged = {name: before[name] for name in _JUDGED_BY if name in before}
    return Former({**rule, **judged, "threshold": alert["threshold"], "is_enabled": True}, actors)


def _by(actor: str) -> str:
    return f" by {actor}" if actor else ""
