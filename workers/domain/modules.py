"""What became of a task module that a process imported."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ImportedModule:
    """A task module of one host: the tasks that it defines, or why it cannot be used."""

    name: str
    tasks: tuple[str, ...] = ()
    error: str | None = None  # one line; None when the import succeeded
    file: str | None = None  # where the error was raised
    line: int | None = None
    seconds: float = 0.0  # how long the import took

    @property
    def is_loaded(self) -> bool:
        """Return whether the tasks of the module can run."""
        return self.error is None

    @property
    def place(self) -> str:
        """Return where the error was raised as `file, line 3`; empty when that is not known."""
        if not self.file:
            return ""
        return f"{self.file}, line {self.line}" if self.line else self.file
