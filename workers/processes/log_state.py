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
    handlers: tuple[logging.Handler, ...]
    filters: tuple[Any, ...]


_UNTOUCHED = _LoggerState(logging.NOTSET, False, True, (), ())


class LogState:
    """The loggers and handlers as they are now, and the module's own switches."""

    def __init__(self) -> None:
        self._loggers = {name: _read(logger) for name, logger in _loggers()}
        self._handlers = {one: _read_handler(one) for state in self._loggers.values() for one in state.handlers}
        self._switches = _read_switches()

    def restore(self) -> None:
        """Put back what differs. A logger that was made since loses its level, filters and handlers."""
        switches = _read_switches()
        if switches != self._switches:
            self._put_switches_back()
        for name, logger in _loggers():
            state = self._loggers.get(name, _UNTOUCHED)
            if _differs(logger, state):
                _put_back(logger, state)
        for handler, before in self._handlers.items():
            if _read_handler(handler) != before:
                handler.level, handler.formatter, filters = before
                handler.filters[:] = filters

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


def _read(logger: logging.Logger) -> _LoggerState:
    return _LoggerState(logger.level, logger.disabled, logger.propagate, tuple(logger.handlers), tuple(logger.filters))


def _differs(logger: logging.Logger, state: _LoggerState) -> bool:
    return (
        logger.level != state.level
        or logger.disabled != state.is_disabled
        or logger.propagate != state.propagates
        or tuple(logger.handlers) != state.handlers
        or tuple(logger.filters) != state.filters
    )


def _put_back(logger: logging.Logger, state: _LoggerState) -> None:
    logger.disabled, logger.propagate = state.is_disabled, state.propagates
    kept = state.handlers or tuple(one for one in logger.handlers if isinstance(one, logging.NullHandler))
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
