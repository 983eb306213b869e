"""Where alerts go: addresses that Apprise understands, from ALERT_URLS or made by people."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from sqlalchemy import Connection

from workers.broker import channel_calls
from workers.domain.actors import Actor
from workers.domain.addresses import LONGEST_URL, Refused, check_host
from workers.domain.channel_schemes import SCHEMES, scheme_of
from workers.domain.clock import utcnow
from workers.domain.errors import BadInput, Conflict, NotFound
from workers.domain.ids import new_id
from workers.domain.mails import header_text
from workers.domain.masking import mask_text
from workers.domain.texts import check_text
from workers.domain.untrusted import check_label, visible_line
from workers.services import audit
from workers.settings import Settings
from workers.store import alerts
from workers.yard import Yard

LONGEST_ANSWER = 2_000
_SEVERITIES = {"critical": "failure", "warning": "warning", "info": "info", "resolved": "success"}


@dataclass(frozen=True, slots=True)
class Channel:
    """One place where alerts go."""

    id: str
    name: str
    url: str
    is_ours: bool  # made here, not by ALERT_URLS: then it must not lead inside

    def shown(self) -> dict[str, Any]:
        """Tell of it without its secrets."""
        return {"id": self.id, "name": self.name, "scheme": self.url.partition(":")[0], "is_setting": not self.is_ours}


def every(connection: Connection, settings: Settings) -> list[Channel]:
    """List every channel, those of ALERT_URLS first."""
    given = [
        Channel(f"env-{number}", f"ALERT_URLS {number}", url, False)
        for number, url in enumerate(settings.alert_urls, 1)
    ]
    return given + [Channel(row["id"], row["name"], row["url"], True) for row in alerts.channels(connection)]


def get(connection: Connection, settings: Settings, channel_id: str) -> Channel:
    """Fetch a channel; NotFound."""
    found = next((one for one in every(connection, settings) if one.id == channel_id), None)
    if found is None:
        raise NotFound(f"There is no channel {channel_id}.")
    return found


def create(yard: Yard, name: str, url: str, actor: Actor) -> Channel:
    """Make a channel. Raises BadInput for an address that cannot be used, Conflict when the name is taken."""
    name = check_label(name, 100, words="A channel's name")
    check_text(url, "url")
    _check_target(yard.settings, url)
    now = utcnow()
    channel = Channel(new_id(), name, url, True)
    row = {"id": channel.id, "name": name, "url": url, "created_at": now, "created_by": str(actor)}
    with yard.database.write() as connection:
        if not alerts.add_channel(connection, row):
            raise Conflict(f"There already is a channel {name}.")
        told = {"name": name, "scheme": url.partition(":")[0]}
        audit.record(connection, actor, "alert_channel.created", "alert_channel", channel.id, now, None, told)
    return channel


def remove(yard: Yard, channel_id: str, actor: Actor) -> None:
    """Delete a channel. Raises NotFound, BadInput for one of ALERT_URLS, and Conflict for one that a rule names."""
    with yard.database.write() as connection:
        found = get(connection, yard.settings, channel_id)
        if not found.is_ours:
            raise BadInput("This channel is in the setting ALERT_URLS; take it out there.", field="channel")
        used_by = [rule["name"] for rule in alerts.rules(connection) if channel_id in json.loads(rule["channels"])]
        if used_by:
            raise Conflict(
                f"The channel {found.name} is used by {_names(used_by)}. Choose other channels there first.",
                state="used",
            )
        alerts.remove_channel(connection, channel_id)
        gone = {"name": found.name}
        audit.record(connection, actor, "alert_channel.deleted", "alert_channel", channel_id, utcnow(), gone)


def test(yard: Yard, channel_id: str, actor: Actor) -> dict[str, Any]:
    """Send a test message to a channel: whether it took it, and what it said. Raises NotFound."""
    with yard.database.read() as connection:
        channel = get(connection, yard.settings, channel_id)
    taken, answer = send(
        yard.settings, channel, "Taskyard: a test", f"{actor} tries this channel. All is well.", "info"
    )
    with yard.database.write() as connection:
        told = {"taken": taken, "answer": answer[:200]}
        audit.record(connection, actor, "alert_channel.tested", "alert_channel", channel_id, utcnow(), None, told)
    return {"channel": channel.name, "taken": taken, "answer": answer}


def send(settings: Settings, channel: Channel, title: str, body: str, severity: str) -> tuple[bool, str]:
    """Send a message now: whether the channel took it, and what it answered. Takes up to 45 seconds. Raises Unavailable."""
    is_confined = channel.is_ours and not settings.allow_private_http
    if is_confined and scheme_of(channel.url) not in SCHEMES:
        return False, "This kind of channel can only be set in ALERT_URLS, by whoever runs Taskyard."
    kind = _SEVERITIES.get(severity, "info")
    told = channel_calls.send(channel.url, header_text(title), body, kind, is_confined=is_confined)
    is_taken = bool(told["is_taken"])
    answer = " ".join([*told["refused"], told["answer"]]).strip() or (
        "taken" if is_taken else "not taken, without a word"
    )
    shown = visible_line(mask_text(answer.replace(channel.url, "…")))
    return is_taken, shown[-LONGEST_ANSWER:]


def _check_target(settings: Settings, url: str) -> None:
    """Refuse a channel that acts on this machine, leads to a private address or is none. Raises BadInput, Unavailable."""
    scheme = scheme_of(url)
    if scheme not in SCHEMES:
        raise BadInput(
            f"Channels of the kind {scheme[:30]!r} cannot be added here. Whoever runs Taskyard can set one in ALERT_URLS.",
            field="url",
        )
    if len(url) > LONGEST_URL or any(unicodedata.category(letter) in {"Cc", "Cs"} for letter in url):
        raise BadInput(f"The address has more than {LONGEST_URL:,} characters, or control characters.", field="url")
    is_confined = not settings.allow_private_http
    if is_confined:
        for host in _hosts_in(url):
            check_host(host)
    found = channel_calls.check(url, is_confined=is_confined)
    if not found["is_understood"]:
        raise BadInput(
            "Apprise does not understand this address. It looks like slack://… or mailto://…: see appriseit.com/services",
            field="url",
        )
    if found["private"]:
        raise Refused(
            f"{found['private'][0]} stands for a private or loopback address. ALLOW_PRIVATE_HTTP=1 allows it.",
            field="url",
        )


def _hosts_in(url: str) -> list[str]:
    """List what may be a host in the address of a channel: its host and the values of its parameters, decoded."""
    try:
        parts = urlsplit(url)
        values = [unquote(value) for values in parse_qs(parts.query).values() for value in values]
    except ValueError as error:
        raise BadInput(f"This is not a valid address: {error}.", field="url") from error
    hosts = [unquote(parts.hostname or "")]
    for value in values:
        part = value.rpartition("//")[2].partition("/")[0].rpartition("@")[2]
        hosts.append(part.partition("]")[0] if part.startswith("[") else part)
        if part.count(":") == 1:
            hosts.append(part.partition(":")[0])
    return hosts


def _names(rules: list[str]) -> str:
    shown = ", ".join(repr(name) for name in rules[:3])
    noun = "the rule" if len(rules) == 1 else "the rules"
    return f"{noun} {shown}" if len(rules) <= 3 else f"{noun} {shown} and {len(rules) - 3} more"
