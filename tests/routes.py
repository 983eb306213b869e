"""Every route of the application, read from its url map, with an address that fits its pattern."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from flask import Flask
from werkzeug.routing import Rule

from dashboard import converters
from dashboard import routes as blueprints
from dashboard.converters import CONVERTERS

_PART = re.compile(r"<(?:(?P<kind>[a-z]+):)?(?P<name>[a-z_]+)>")


@dataclass(frozen=True)
class Route:
    """One method of one rule."""

    method: str
    rule: str
    endpoint: str
    role: str | None
    parts: Mapping[str, str]  # the name of each part of the address, and its converter

    def path(self, **values: str) -> str:
        """Return the address, with these parts and examples for the rest."""
        return _PART.sub(lambda part: values.get(part["name"], _example(part["kind"])), self.rule)

    @property
    def is_unsafe(self) -> bool:
        return self.method in {"POST", "PUT", "PATCH", "DELETE"}

    @property
    def is_call(self) -> bool:
        return self.rule.startswith("/api/v1/")

    def __str__(self) -> str:
        return f"{self.method} {self.rule}"


def routes_of(app: Flask) -> list[Route]:
    """List the routes of an application by rule and method, but for the static files."""
    return sorted(_routes(app), key=lambda one: (one.rule, one.method))


def _routes(app: Flask) -> Iterator[Route]:
    for rule in app.url_map.iter_rules():
        if rule.endpoint == "static":
            continue
        role = getattr(app.view_functions[rule.endpoint], "taskyard_role", None)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            yield Route(method, rule.rule, rule.endpoint, role, _parts(rule))


def _parts(rule: Rule) -> dict[str, str]:
    return {part["name"]: part["kind"] or "default" for part in _PART.finditer(rule.rule)}


def _example(kind: str | None) -> str:
    return str(getattr(CONVERTERS.get(kind or ""), "example", "x"))


def declared_routes() -> list[Route]:
    """List the routes without a database, for tests that are made from them."""
    app = Flask("taskyard", static_folder=None)
    converters.init(app)
    blueprints.register(app)
    return routes_of(app)
