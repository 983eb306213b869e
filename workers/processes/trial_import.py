"""A trial import of the task modules, in a forked process that publishes their tasks and ends.

The catalogue is complete before anything serves, and no process that will fork again has imported a module of users.
A module that ends the process or does not come back is named, and the rest is tried again without it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, replace

from workers.domain.modules import ImportedModule
from workers.processes.keeper import words
from workers.processes.kin import die_with_parent, end_with_parent, fork
from workers.settings import Settings

log = logging.getLogger("taskyard.tasks")

_TICK_SECONDS = 0.1
SETTLE_SECONDS = 3.0  # in which a process must live on after an import, when a trial ended later


def publish_tasks(settings: Settings) -> Settings:
    """Publish the tasks of TASK_MODULES; return the settings without the modules that no process can import.

    A module that raises an error stays: each process tries it again. Raises Unavailable.
    """
    unusable: list[ImportedModule] = []
    while True:
        names = tuple(name for name in settings.task_modules if name not in {one.name for one in unusable})
        trial = _Trial(replace(settings, task_modules=names), unusable)
        try:
            broken = trial.run()
            if broken is not None and not trial.is_late:
                broken = _confirmed(settings, names, broken)
        except _EndedLater as death:
            broken = _find_cause(settings, names)
            if broken is None:
                log.error("the tasks could not be published: the process %s; see the error above", death)
                raise SystemExit(1) from None
        if broken is None:
            for one in (*trial.imported, *unusable):
                _log(one)
            return replace(settings, task_modules=names)
        unusable.append(broken)


class _EndedLater(Exception):
    """The process ended after every module was imported; says how."""


def _confirmed(settings: Settings, names: Sequence[str], broken: ImportedModule) -> ImportedModule:
    """Return the module that ended the process: the one whose import ran, or one before it whose thread or timer did."""
    if _end_after_import(settings, broken.name) is not None:
        return broken
    before = names[: names.index(broken.name)]
    return _find_cause(settings, before) or broken


def _find_cause(settings: Settings, names: Sequence[str]) -> ImportedModule | None:
    """Return the first module whose import, alone, ends a process a moment later; None when none does."""
    for name in names:
        end = _end_after_import(settings, name)
        if end is not None:
            return ImportedModule(name, error=f"The process {end} soon after the import.")
    return None


def _end_after_import(settings: Settings, name: str) -> str | None:
    """Import one module in a process of its own; how that ended within the next seconds, None when it did not."""
    from workers.loading import load_modules

    parent = os.getpid()

    def body() -> int:
        os.setpgid(0, 0)
        die_with_parent()
        end_with_parent(parent, 1)
        load_modules((name,))
        time.sleep(SETTLE_SECONDS)
        return 0

    pid = fork(body)
    until = time.monotonic() + settings.import_seconds + SETTLE_SECONDS
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None and time.monotonic() < until:
        time.sleep(_TICK_SECONDS)
    is_late = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return None if is_late or status == 0 else words(status)


class _Trial:
    def __init__(self, settings: Settings, unusable: Sequence[ImportedModule]) -> None:
        self._settings, self._unusable = settings, unusable
        self._importing: str | None = None
        self._rest = b""
        self.is_late = False
        self.imported: list[ImportedModule] = []

    def run(self) -> ImportedModule | None:
        """Import and publish in a process of its own; return the module that ended it, None when it succeeded."""
        reading, writing = os.pipe()
        parent = os.getpid()

        def body() -> int:
            os.setpgid(0, 0)
            os.close(reading)
            die_with_parent()
            end_with_parent(parent, 1)
            return _import_and_publish(self._settings, self._unusable, writing)

        pid = fork(body)
        os.close(writing)
        with open(reading, "rb", buffering=0):
            self.is_late = not self._listen(reading, pid)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # with whatever the imports have started
        _, status = os.waitpid(pid, 0)
        if status == 0 and self._importing is None:
            return None
        if self._importing is None:
            raise _EndedLater(words(status))
        if self.is_late:
            error = f"Its import took longer than IMPORT_SECONDS ({self._settings.import_seconds:g} s)."
        else:
            error = f"Its import ended the process, which {words(status)}."
        return ImportedModule(self._importing, error=error)

    def _listen(self, reading: int, pid: int) -> bool:
        """Read what the process reports until it ends; False when an import takes too long.

        Publishing has no limit: it waits for a database that is away.
        """
        heard_at = time.monotonic()
        while True:
            if select.select([reading], [], [], _TICK_SECONDS)[0]:
                chunk = os.read(reading, 65_536)
                if not chunk:
                    return True
                self._read_lines(chunk)
                heard_at = time.monotonic()
            elif os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                return True  # what an import has started may still hold the pipe open
            elif self._importing is not None and time.monotonic() - heard_at > self._settings.import_seconds:
                return False

    def _read_lines(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self._note(json.loads(line))

    def _note(self, message: dict[str, object]) -> None:
        name = message.get("importing")
        self._importing = name if isinstance(name, str) else None
        if isinstance(imported := message.get("imported"), list):
            self.imported = [ImportedModule(**one) for one in imported]


def _import_and_publish(settings: Settings, unusable: Sequence[ImportedModule], writing: int) -> int:
    from workers.loading import load_modules
    from workers.processes.preparing import until_available
    from workers.registry import REGISTRY
    from workers.services import publishing
    from workers.yard import Yard

    def report(**message: object) -> None:
        os.write(writing, json.dumps(message).encode() + b"\n")

    modules = load_modules(settings.task_modules, lambda name: report(importing=name))
    report(imported=[asdict(one) for one in modules])
    with closing(Yard.open(settings)) as yard:
        until_available(lambda: publishing.publish(yard, REGISTRY, [*modules, *unusable], drop_others=True))
    return 0


def _log(module: ImportedModule) -> None:
    if module.is_loaded:
        return
    place = f" ({module.place})" if module.place else ""
    log.error("the task module %s is skipped: %s%s", module.name, module.error, place)
