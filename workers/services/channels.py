"""Where alerts go: addresses that Apprise understands, from ALERT_URLS or made by people."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from sqlalchemy import Connection

from workers.broker import channel_calls
from workers.domain.actors import Actor
from workers.domain.addresses import LONGEST_URL, Refused, check_host
from workers.domain.channel_schemes import SCHEMES, scheme_of
from workers.domain.clock import utcnow
from workers.domain.cron import check_zone
from workers.domain.errors import BadInput, Conflict, NotFound
from workers.domain.ids import new_id
from workers.domain.mails import header_text
from workers.domain.masking import mask_text
from workers.domain.plurals import plural
from workers.domain.texts import check_text
from workers.domain.untrusted import check_label, visible_line
from workers.services import alert_messages, audit
from workers.settings import Settings
from workers.store import alerts
from workers.store import settings as setting_rows
from workers.store.types import Row
from workers.yard import Yard

LONGEST_ANSWER = 2_000
_KEY = "alert_channels.key"
_SEVERITIES = {"critical": "failure", "warning": "warning", "info": "info", "resolved": "success"}


@dataclass(frozen=True, slots=True)
class Channel:
    """One place where alerts go."""

    id: str
    name: str
    url: str
    is_ours: bool  # made here, not by ALERT_URLS: then it must not lead inside
    timezone: str = ""  # of the times in its messages; empty = the installation's
    alias: str = ""  # `env-1` …: its place in ALERT_URLS, which was its id in earlier versions

    def is_named(self, name: str) -> bool:
        """Return whether this is its id, or the one that it had in earlier versions."""
        return name in {self.id, self.alias}

    def shown(self) -> dict[str, Any]:
        """Return it without its secrets."""
        scheme = self.url.partition(":")[0]
        shown = {"id": self.id, "name": self.name, "scheme": scheme, "timezone": self.timezone or None}
        return {**shown, "is_setting": not self.is_ours}


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of a message: taken, refused, or received by the channel without an answer in time."""

    is_taken: bool
    answer: str
    is_unanswered: bool = False


def every(connection: Connection, settings: Settings) -> list[Channel]:
    """List every channel, those of ALERT_URLS first."""
    given = of_setting(connection, settings.alert_urls) if settings.alert_urls else []
    rows = alerts.channels(connection)
    return given + [Channel(row["id"], row["name"], row["url"], True, row["timezone"]) for row in rows]


def of_setting(connection: Connection, urls: Sequence[str]) -> list[Channel]:
    """List the channels of ALERT_URLS. Their ids are made from the addresses, so that their order means nothing.

    The key of this installation keeps an address from being guessed by its id.
    """
    key = bytes.fromhex(setting_rows.get(connection, _KEY, ""))
    found: dict[str, Channel] = {}
    for number, url in enumerate(urls, 1):
        mark = f"url-{hmac.new(key, url.encode(), hashlib.sha256).hexdigest()[:16]}"
        found.setdefault(mark, Channel(mark, f"ALERT_URLS {number}", url, False, alias=f"env-{number}"))
    return [*found.values()]


def ensure_ids(connection: Connection, urls: Sequence[str], now: datetime) -> None:
    """Make the key of the ids unless there is one; give rules and messages that name a place in ALERT_URLS its id."""
    setting_rows.put_if_absent(connection, _KEY, secrets.token_hex(16), now)
    ids = {channel.alias: channel.id for channel in of_setting(connection, urls)}
    for rule in alerts.rules(connection):
        named = json.loads(rule["channels"])
        renamed = [ids.get(one, one) for one in named]
        if renamed != named:
            alerts.change_rule(connection, rule["id"], {"channels": json.dumps(renamed)})
    for alias, channel_id in ids.items():
        alerts.rename_channel(connection, alias, channel_id)


def of_rule(rule: Row, known: Sequence[Channel]) -> tuple[list[Channel], list[str]]:
    """Return where the alerts of a rule go, and the ids of its channels that there are no more.

    A rule whose channels are all gone uses every channel, as one does that names none.
    """
    wanted = json.loads(rule["channels"])
    present = [channel for channel in known if any(map(channel.is_named, wanted))]
    return present or list(known), [one for one in wanted if not any(channel.is_named(one) for channel in known)]


def why_absent(rule: Row, absent: Sequence[str]) -> str:
    """Say which channels of a rule are gone, and where its alerts go instead; empty when none is."""
    if not absent:
        return ""
    names = ", ".join(_name_of_absent(one) for one in absent)
    subject = (
        f"Its {plural(len(absent), 'channel', 'channels')} {names} {plural(len(absent), 'is', 'are')} no longer set"
    )
    rest = "the others of this rule" if len(absent) < len(json.loads(rule["channels"])) else "all channels"
    return f"{subject}. Its alerts go to {rest}. Choose channels for this rule, or set ALERT_URLS."


def _name_of_absent(channel_id: str) -> str:
    is_of_setting = channel_id.startswith(("env-", "url-"))
    return f"ALERT_URLS {channel_id.removeprefix('env-')}" if is_of_setting else channel_id


def get(connection: Connection, settings: Settings, channel_id: str) -> Channel:
    """Fetch a channel; NotFound."""
    found = next((one for one in every(connection, settings) if one.is_named(channel_id)), None)
    if found is None:
        raise NotFound(f"There is no channel {channel_id}.")
    return found


def create(yard: Yard, name: str, url: str, actor: Actor, timezone: str = "") -> Channel:
    """Make a channel; without a time zone its messages use the installation's.

    Raises BadInput for an address or zone that cannot be used, Conflict when the name is taken.
    """
    if timezone:
        check_zone(timezone)
    name = check_label(name, 100, words="A channel's name")
    check_text(url, "url")
    _check_target(yard.settings, url)
    now = utcnow()
    channel = Channel(new_id(), name, url, True, timezone)
    row = {
        "id": channel.id,
        "name": name,
        "url": url,
        "timezone": timezone,
        "created_at": now,
        "created_by": str(actor),
    }
    with yard.database.write() as connection:
        if not alerts.add_channel(connection, row):
            raise Conflict(f"A channel named {name} already exists.")
        told = {"name": name, "scheme": url.partition(":")[0]}
        audit.record(connection, actor, "alert_channel.created", "alert_channel", channel.id, now, None, told)
    return channel


def remove(yard: Yard, channel_id: str, actor: Actor) -> None:
    """Delete a channel. Raises NotFound, BadInput for one of ALERT_URLS, and Conflict for one that a rule names."""
    with yard.database.write() as connection:
        found = get(connection, yard.settings, channel_id)
        if not found.is_ours:
            raise BadInput("This channel comes from the setting ALERT_URLS. Remove it there.", field="channel")
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
    zone = channel.timezone or yard.settings.timezone
    message = alert_messages.compose_test(yard.settings, str(actor), zone, utcnow())
    taken, answer = send(yard.settings, channel, message.title, message.body, "info")
    with yard.database.write() as connection:
        told = {"taken": taken, "answer": answer[:200]}
        audit.record(connection, actor, "alert_channel.tested", "alert_channel", channel_id, utcnow(), None, told)
    return {"channel": channel.name, "taken": taken, "answer": answer}


def send(settings: Settings, channel: Channel, title: str, body: str, severity: str) -> tuple[bool, str]:
    """Send a message now: whether the channel took it, and what it answered. See `call`."""
    reply = call(settings, channel, title, body, severity)
    return reply.is_taken, reply.answer


def call(settings: Settings, channel: Channel, title: str, body: str, severity: str) -> Reply:
    """Send a message now; takes up to 65 seconds. Raises Unavailable."""
    is_confined = channel.is_ours and not settings.allow_private_http
    if is_confined and scheme_of(channel.url) not in SCHEMES:
        return Reply(False, "This kind of channel can only be set in ALERT_URLS, by the operator of Taskyard.")
    kind = _SEVERITIES.get(severity, "info")
    told = channel_calls.send(channel.url, header_text(title), body, kind, is_confined=is_confined)
    is_taken = bool(told["is_taken"])
    answer = " ".join([*told["refused"], told["answer"]]).strip() or (
        "taken" if is_taken else "refused without a reason"
    )
    shown = visible_line(mask_text(answer.replace(channel.url, "…")))
    return Reply(is_taken, shown[-LONGEST_ANSWER:], not is_taken and bool(told.get("is_unanswered")))


def _check_target(settings: Settings, url: str) -> None:
    """Refuse a channel that acts on this machine, leads to a private address or is none. Raises BadInput, Unavailable."""
    scheme = scheme_of(url)
    if scheme not in SCHEMES:
        raise BadInput(
            f"Channels of the kind {scheme[:30]!r} cannot be added here. The operator of Taskyard can set one in ALERT_URLS.",
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
            "Apprise does not support this URL. Use a URL such as slack://… or mailto://…: see appriseit.com/services",
            field="url",
        )
    if found["private"]:
        raise Refused(
            f"{found['private'][0]} resolves to a private or loopback address. ALLOW_PRIVATE_HTTP=1 allows it.",
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
    noun = plural(len(rules), "the rule", "the rules")
    return f"{noun} {shown}" if len(rules) <= 3 else f"{noun} {shown} and {len(rules) - 3} more"
