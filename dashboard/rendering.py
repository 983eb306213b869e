"""One rendering path: a page, or one named region of it, from the same partials and the same values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Response, make_response, request

from dashboard.slices import render_template
from workers.domain.errors import NotFound

HEADER = "X-Region"


def render(template: str, regions: Mapping[str, str], /, **values: Any) -> Response:
    """Answer the page, or the partial of the region that the header `X-Region` names. NotFound for another name."""
    wanted = request.headers.get(HEADER)
    if wanted is not None and wanted not in regions:
        raise NotFound(f"This page has no region {wanted[:40]}.")
    answer = make_response(render_template(regions[wanted] if wanted else template, **values))
    answer.headers["Vary"] = HEADER
    return answer
