"""The configuration of `logging` in a process: what a job has changed of it is put back."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

_MODULE_NAMES = ("raiseExceptions", "lastResort", "_warnings_showwarning", "_levelToName", "_nameToLevel")


@dataclass(frozen=True, slots=True)
class _LoggerState:
    level: int
    is_disabled: bool
    propagates: bool
    handlers: list[logging.Handler]
    filters: list[Any]

    def is_state_of(self, logger: logging.Logger) -> bool:
        """Return whether a logger is in this state."""
        return (
            logger.level == self.level
            and logger.disabled == self.is_disabled
            and logger.propagate == self.propagates
            and logger.handlers == self.handlers
            and logger.filters == self.filters
        )


_UNTOUCHED = _LoggerState(logging.NOTSET, False, True, [], [])


class LogState:
    """The loggers and handlers as they are now, and the module's own switches."""

    def __init__(self) -> None:
        self._loggers = {name: _read(logger) for name, logger in _loggers()}
        self._handlers = {one: _read_handler(one) for state in self._loggers.values() for one in state.handlers}
        self._switches = _read_switches()
        self._seen = _look(copied=True)

    def restore(self) -> None:
        """Put back what differs. A logger that was made since loses its level, filters and handlers."""
        switches = _read_switches()
        if switches != self._switches:
            self._put_switches_back()
        if _look() != self._seen:
            self._restore_loggers()
        for handler, before in self._handlers.items():
            if _read_handler(handler) != before:
                handler.level, handler.formatter, filters = before
                handler.filters[:] = filters

    def _restore_loggers(self) -> None:
        for name, logger in _loggers():
            state = self._loggers.get(name, _UNTOUCHED)
            if not state.is_state_of(logger):
                _put_back(logger, state)
        self._seen = _look(copied=True)

    def _put_switches_back(self) -> None:
        disabled, logger_class, record_factory, values = self._switches
        logging.disable(disabled)
        logging.setLoggerClass(logger_class)
        logging.setLogRecordFactory(record_factory)
        for name, value in zip(_MODULE_NAMES, values, strict=True):
            if isinstance(value, dict):
                known = getattr(logging, name)
                known.clear()
                known.update(value)
            else:
                setattr(logging, name, value)


def _loggers() -> list[tuple[str, logging.Logger]]:
    named = [(name, one) for name, one in logging.root.manager.loggerDict.items() if isinstance(one, logging.Logger)]
    return [("", logging.root), *named]


def _look(*, copied: bool = False) -> list[tuple[Any, ...]]:
    """Read all loggers at once, which is done after each job. Lists are those of the loggers unless they are copied."""
    found = [
        logging.root,
        *(one for one in logging.root.manager.loggerDict.values() if isinstance(one, logging.Logger)),
    ]
    seen = [(one, one.level, one.disabled, one.propagate, one.handlers, one.filters) for one in found]
    return [(*state[:4], [*state[4]], [*state[5]]) for state in seen] if copied else seen


def _read(logger: logging.Logger) -> _LoggerState:
    return _LoggerState(logger.level, logger.disabled, logger.propagate, list(logger.handlers), list(logger.filters))


def _put_back(logger: logging.Logger, state: _LoggerState) -> None:
    logger.disabled, logger.propagate = state.is_disabled, state.propagates
    kept = state.handlers or [one for one in logger.handlers if isinstance(one, logging.NullHandler)]
    logger.handlers[:] = kept
    logger.filters[:] = state.filters
    if logger.level != state.level:
        logger.setLevel(state.level)  # forgets which levels were found to be enabled


def _read_handler(handler: logging.Handler) -> tuple[Any, ...]:
    return handler.level, handler.formatter, tuple(handler.filters)


def _read_switches() -> tuple[Any, ...]:
    values = [getattr(logging, name, None) for name in _MODULE_NAMES]
    copies = [dict(one) if isinstance(one, dict) else one for one in values]
    return logging.root.manager.disable, logging.getLoggerClass(), logging.getLogRecordFactory(), copies
