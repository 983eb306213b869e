"""One rendering path: a page, or named regions of it, from the same partials and the same values.

Values that cost something are wrapped with `later` and computed only when the page or region that is asked for shows them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import jinja2
from flask import Flask, Response, g, make_response, request
from flask_login import current_user
from jinja2.runtime import Context
from markupsafe import Markup

from dashboard.slices import render_template
from workers.domain.errors import NotFound

REGION = "X-Region"  # names, separated by commas
FRESH = "X-Fresh"  # of whoever has just done something: not what others share
MAX_REGIONS = 20


class Later:
    """A value that is computed when a template first shows it."""

    def __init__(self, compute: Callable[[], Any]) -> None:
        self.get = cache(compute)


class LazyContext(Context):
    """A context of templates that computes such values."""

    def resolve_or_missing(self, key: str) -> Any:
        """Return a value by its name."""
        value = super().resolve_or_missing(key)
        return value.get() if isinstance(value, Later) else value


class SharedViewer:
    """What a region that viewers share may know of its viewer: the role."""

    is_authenticated = True

    def __init__(self, role: str) -> None:
        self.role = role


def later(compute: Callable[[], Any]) -> Any:
    """Return a value for a template that is computed at most once, and only if it is shown."""
    return Later(compute)


def render(template: str, regions: Mapping[str, str], /, **values: Any) -> Response:
    """Answer the page, or the partials of the regions that the header `X-Region` names. NotFound for another name.

    Several regions are answered as `<template data-part-of="name">`. Forms in regions hold no token: the page has it.
    """
    wanted = request.headers.get(REGION)
    if wanted is None:
        answer = make_response(render_template(template, **values))
    else:
        answer = make_response(_render_regions(region_names(wanted), regions, values))
    answer.headers["Vary"] = REGION
    return answer


def region_names(header: str) -> tuple[str, ...]:
    """Return the names that the header holds, in one order whoever asks."""
    return tuple(sorted(set(header.split(",")[:MAX_REGIONS])))


def _render_regions(names: tuple[str, ...], regions: Mapping[str, str], values: dict[str, Any]) -> str:
    for name in names:
        if name not in regions:
            raise NotFound(f"This page has no region {name[:40]}.")
    values["is_region"] = True
    if g.get("is_shared"):
        values["current_user"] = SharedViewer(current_user.role)
    drawn = {name: render_template(regions[name], **values) for name in names}
    if len(drawn) == 1:
        return next(iter(drawn.values()))
    part = Markup('<template data-part-of="{}">{}</template>\n')
    return "".join(part.format(name, Markup(html)) for name, html in drawn.items())


def init(app: Flask) -> None:
    """Have the templates of an application compute values when they show them."""
    environment: jinja2.Environment = app.jinja_env
    environment.context_class = LazyContext
