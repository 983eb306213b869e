"""Who does something: a person, a token, a task, Taskyard itself, or an address that nobody has signed in from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["user", "token", "system", "task", "address"]
ROLES = ("viewer", "operator", "admin")


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody who acts, as the audit and the events name them."""

    kind: Kind
    name: str
    role: str = "viewer"

    def __str__(self) -> str:
        return self.name if self.kind == "user" else f"{self.kind}:{self.name}"

    def may(self, role: str) -> bool:
        """Tell whether the actor's role reaches this one."""
        return ROLES.index(self.role) >= ROLES.index(role)


SYSTEM = Actor("system", "taskyard", "admin")
