"""The tasks of `form_tasks`, taken out of the registry again: other tests of this process count what is in it."""

from __future__ import annotations

from tests import form_tasks  # noqa: F401
from workers import registry

DEFINITIONS = {name: registry.REGISTRY.pop(name) for name in ("forms.ship", "forms.hostile")}
