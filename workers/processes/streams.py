"""What a task finds as `sys.stdout` and `sys.stderr`: streams as libraries know them, whose text goes to the job's log."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable
from typing import Any

Sink = Callable[[int, str], None]  # source, text
_OPTIONS = {"encoding", "errors", "newline", "line_buffering", "write_through"}


class JobStream(io.TextIOWrapper):
    """A text stream that hands its text on at once; code that wants bytes or the descriptor gets the real one.

    Nothing waits in it, so nothing is lost with the process. Closing and detaching leave it usable: other threads and the
    next job have the same stream.
    """

    mode = "w"
    name = ""  # an attribute here, set below; the base class reads that of its buffer

    def __init__(self, sink: Sink, source: int, descriptor: int, name: str) -> None:
        super().__init__(_bytes_of(descriptor), "utf-8", "replace", newline="\n", line_buffering=True)
        self._sink, self._source, self._descriptor = sink, source, descriptor
        self.name = name
        self._own_attributes = dict(self.__dict__)

    @property
    def buffer(self) -> ByteStream:  # type: ignore[override]
        """A stream for bytes, a new one each time: who closes it closes nothing else."""
        return _bytes_of(self._descriptor)

    def fileno(self) -> int:
        """Return the descriptor, for processes that shall write to it."""
        return self._descriptor

    def isatty(self) -> bool:
        """Return False: nobody watches the line being rewritten."""
        return False

    def readable(self) -> bool:
        """Return False."""
        return False

    def writable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return False."""
        return False

    def write(self, text: str) -> int:
        """Hand on a text; how many characters it has. Raises TypeError for what is no text."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if text:
            self._sink(self._source, text)
        return len(text)

    def writelines(self, lines: Iterable[str], /) -> None:  # type: ignore[override]
        """Hand on several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Do nothing: what was written is on its way."""

    def close(self) -> None:
        """Do nothing: the stream stays open."""

    def reconfigure(self, **options: Any) -> None:
        """Accept the options of a real stream and change nothing: text is handed on as text. Raises TypeError for others."""
        odd = sorted(set(options) - _OPTIONS)
        if odd:
            raise TypeError(f"reconfigure() got an unexpected keyword argument {odd[0]!r}")

    def restore(self) -> None:
        """Take away what a task has set on the stream itself, such as a `write` of its own."""
        own = self._own_attributes
        if len(self.__dict__) != len(own) + 1 or self.name != own["name"]:
            self.__dict__.clear()
            self.__dict__.update(own, _own_attributes=own)

    def let_go(self) -> None:
        """Write to the descriptor from now on: what a process does that the task has forked."""
        self._sink = self._write_through

    def detach(self) -> Any:
        """Return a stream for bytes; this one stays usable."""
        return self.buffer

    def _write_through(self, _source: int, text: str) -> None:
        os.write(self._descriptor, text.encode(errors="replace"))


class ByteStream(io.BufferedWriter):
    """A stream for bytes over a descriptor that it does not own; every write goes through at once."""

    def write(self, data: Any, /) -> int:
        """Write bytes; how many."""
        size = super().write(data)
        self.flush()
        return size


class _Descriptor(io.FileIO):
    """The descriptor itself, which cannot be closed through the streams above it."""

    def close(self) -> None:
        """Do nothing."""


def _bytes_of(descriptor: int) -> ByteStream:
    return ByteStream(_Descriptor(descriptor, "wb", closefd=False))
