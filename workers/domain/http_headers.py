"""Headers of HTTP requests that users give: names and values that cannot be taken for anything else."""

from __future__ import annotations

import re
from collections.abc import Mapping

from workers.domain.errors import BadInput

MOST_HEADERS = 50
LONGEST_VALUE = 8_000
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
# They say where a request ends and who it is for, which is the client's business alone.
_FRAMING = {
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}


def check_headers(headers: Mapping[str, str], field: str = "headers") -> dict[str, str]:
    """Return headers under their names in lower case. Raises BadInput for what is no header."""
    if len(headers) > MOST_HEADERS:
        raise BadInput(f"At most {MOST_HEADERS} headers can be sent; there are {len(headers):,}.", field=field)
    for name, value in headers.items():
        if not _NAME.fullmatch(name):
            raise BadInput(f"{name[:100]!r} is not the name of a header.", field=field)
        if not _VALUE.fullmatch(value) or len(value) > LONGEST_VALUE:
            raise BadInput(
                f"The header {name} holds a line end or another character that headers cannot hold, or is too long.",
                field=f"{field}.{name}",
            )
    return {name.lower(): value for name, value in headers.items()}


def without_framing(headers: Mapping[str, str]) -> dict[str, str]:
    """Leave out what the client itself says about the connection, the body's length and the host."""
    return {name: value for name, value in headers.items() if name not in _FRAMING}
