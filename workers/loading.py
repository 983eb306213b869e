"""Imports of task modules, one by one: a module that cannot be imported does not keep the others from their work.

The modules of users are imported in the process that runs their tasks, after its last fork. What they open while they
are imported, such as a connection, a client or a thread, then belongs to that process alone.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
import sysconfig
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from workers import registry
from workers.domain.masking import mask_text
from workers.domain.modules import ImportedModule
from workers.domain.texts import describe_error, is_of, read_safely, safe_repr, traceback_of, type_name
from workers.domain.untrusted import visible_line

OWN_PACKAGE = "workers.tasks"
_LONGEST_ERROR = 1_000
_PYTHON = tuple(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
_HERE = str(Path(__file__).parent)


def load_own_tasks() -> None:
    """Import the ready-made tasks. They open nothing while they are imported, so a process may fork afterwards."""
    package = importlib.import_module(OWN_PACKAGE)
    for one in pkgutil.iter_modules(package.__path__):
        if not one.name.startswith("_"):
            importlib.import_module(f"{OWN_PACKAGE}.{one.name}")


def load_modules(names: Sequence[str], before: Callable[[str], object] | None = None) -> list[ImportedModule]:
    """Import the ready-made tasks and these modules; return what became of each of these.

    A module that raises anything, SystemExit included, is skipped with the tasks that it had defined. `before` is called
    with the name of each module just before it is imported.
    """
    load_own_tasks()
    loaded = []
    for name in names:
        if before is not None:
            before(name)
        loaded.append(load_module(name))
    return loaded


def load_module(name: str) -> ImportedModule:
    """Import one module and return what became of it. Raises nothing."""
    known = set(registry.REGISTRY)
    began = time.monotonic()
    try:
        importlib.import_module(name)
    except BaseException as error:  # sys.exit() at import ends neither the process nor the other modules
        _forget_undefined_tasks()
        file, line = _place_of(error)
        return ImportedModule(name, (), _sentence(name, error), file, line, time.monotonic() - began)
    tasks = {one.name for one in registry.REGISTRY.values() if one.module == name}
    defined = tasks | (set(registry.REGISTRY) - known)
    return ImportedModule(name, tuple(sorted(defined)), seconds=time.monotonic() - began)


def _forget_undefined_tasks() -> None:
    """Forget the tasks whose module is not there any more: Python drops a module whose import fails."""
    for task in list(registry.REGISTRY.values()):
        if task.module not in sys.modules:
            del registry.REGISTRY[task.name]


def _sentence(name: str, error: BaseException) -> str:
    missing = read_safely(error, "name") if is_of(error, ModuleNotFoundError) else None
    if isinstance(missing, str) and _is_part_of(name, missing):
        return f"Module {missing} not found. Check TASK_MODULES and the directory in which Taskyard is started."
    if is_of(error, SystemExit):
        code = safe_repr(read_safely(error, "code"), 200)
        return f"The module called sys.exit({code}) during its import."
    sentence = describe_error(error, _LONGEST_ERROR)
    if is_of(error, SyntaxError) and is_of(message := read_safely(error, "msg"), str):
        sentence = f"{type_name(type(error)).rpartition('.')[2]}: {message}"
    return visible_line(mask_text(sentence))[:_LONGEST_ERROR]


def _is_part_of(name: str, missing: str) -> bool:
    return name == missing or name.startswith(f"{missing}.")


def _place_of(error: BaseException) -> tuple[str | None, int | None]:
    """Return the file and line of the user's code that an import failed at."""
    if is_of(error, SyntaxError) and is_of(file := read_safely(error, "filename"), str):
        line = read_safely(error, "lineno")
        return file, line if is_of(line, int) else None
    frames = [frame for frame in traceback.extract_tb(traceback_of(error)) if _is_of_user(frame.filename)]
    if not frames:
        return None, None
    return frames[-1].filename, frames[-1].lineno


def _is_of_user(file: str) -> bool:
    return not file.startswith(("<", *_PYTHON, _HERE))
