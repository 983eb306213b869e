"""What the parts of an address may look like: an address that does not fit its pattern is 404, not a query."""

from __future__ import annotations

from flask import Flask
from werkzeug.routing import BaseConverter

from workers.domain.ids import ID_PATTERN

EXAMPLE_ID = "01890a5d-ac96-774b-bcce-b302099a8057"


class IdConverter(BaseConverter):
    """The id of a row: a UUID."""

    regex = ID_PATTERN
    example = EXAMPLE_ID


class RuleConverter(BaseConverter):
    """The id of an alert rule: a UUID, the id of a rule that comes with Taskyard, or `new` for its form."""

    regex = rf"{ID_PATTERN}|rule-[a-z_]{{1,32}}|new"
    example = "rule-cpu"


class ChannelConverter(BaseConverter):
    """The id of an alert channel: a UUID, or one of ALERT_URLS; there its number, the id of earlier versions, is accepted."""

    regex = rf"{ID_PATTERN}|url-[0-9a-f]{{16}}|env-[0-9]{{1,4}}"
    example = "url-0123456789abcdef"


class QueueConverter(BaseConverter):
    """The name of a queue."""

    regex = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
    example = "default"


class TaskConverter(BaseConverter):
    """The name of a task."""

    regex = r"[A-Za-z_][A-Za-z0-9_.]{0,199}"
    example = "samples.noop"


class UserConverter(BaseConverter):
    """The name of a user."""

    regex = r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}"
    example = "olga"


class TextConverter(BaseConverter):
    """A name that others gave, such as a file's or a worker's."""

    regex = r"[^/]{1,255}"
    example = "report.html"


class NumberConverter(BaseConverter):
    """The number of a row: at most 18 digits, which fits every database."""

    regex = r"[0-9]{1,18}"
    example = "1"


CONVERTERS: dict[str, type[BaseConverter]] = {
    "id": IdConverter,
    "rule": RuleConverter,
    "channel": ChannelConverter,
    "queue": QueueConverter,
    "task": TaskConverter,
    "user": UserConverter,
    "name": TextConverter,
    "number": NumberConverter,
}


def init(app: Flask) -> None:
    """Make the converters known; called before the routes are."""
    app.url_map.converters.update(CONVERTERS)
    # `//jobs` is no address; a redirect would repeat the Host header of whoever asks.
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = True
