"""The streams that a task finds have what libraries use of them, and nothing that a task does to them breaks them."""

from __future__ import annotations

import codecs
import io
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from workers.processes.streams import JobStream


class Heard:
    """A stream, and what was said through it."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.reading, self.writing = os.pipe()
        self.stream = JobStream(lambda _source, text: self.texts.append(text), 0, self.writing, "<stdout>")

    @property
    def data(self) -> bytes:
        os.set_blocking(self.reading, False)
        try:
            return os.read(self.reading, 65_536)
        except BlockingIOError:
            return b""


@pytest.fixture
def heard() -> Iterator[Heard]:
    made = Heard()
    yield made
    for descriptor in (made.reading, made.writing):
        os.close(descriptor)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", "<stdout>"),
        ("mode", "w"),
        ("encoding", "utf-8"),
        ("errors", "replace"),
        ("newlines", None),
        ("line_buffering", True),
        ("closed", False),
    ],
)
def test_an_attribute_is_that_of_a_text_stream(heard: Heard, name: str, value: object) -> None:
    assert getattr(heard.stream, name) == value


def test_it_is_a_text_stream_by_class_and_by_what_it_can_do(heard: Heard) -> None:
    assert isinstance(heard.stream, io.TextIOWrapper)
    assert heard.stream.fileno() == heard.writing
    assert [heard.stream.writable(), heard.stream.readable(), heard.stream.seekable()] == [True, False, False]
    assert heard.stream.isatty() is False


def test_everything_that_a_real_stream_has_is_there(heard: Heard) -> None:
    with open(os.devnull, "w", encoding="utf-8") as real:
        missing = [name for name in dir(real) if not name.startswith("_") and not hasattr(heard.stream, name)]
    assert missing == []


@pytest.mark.parametrize(
    "options",
    [
        {"encoding": "utf-8"},
        {"errors": "strict"},
        {"line_buffering": False},
        {"write_through": True},
        {"newline": "\n"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_it_can_be_reconfigured(heard: Heard, options: dict[str, Any]) -> None:
    heard.stream.reconfigure(**options)
    print("after", file=heard.stream)
    assert "".join(heard.texts) == "after\n"


def test_text_is_handed_on_at_once_and_writing_returns_how_much(heard: Heard) -> None:
    assert heard.stream.write("é and no end of line") == 20
    assert heard.texts == ["é and no end of line"]


@pytest.mark.parametrize("value", [b"bytes", 5, None])
def test_what_is_no_text_is_refused(heard: Heard, value: Any) -> None:
    with pytest.raises(TypeError, match="must be str"):
        heard.stream.write(value)


def test_bytes_go_through_the_descriptor_at_once(heard: Heard) -> None:
    assert heard.stream.buffer.write(b"bytes") == 5
    assert heard.data == b"bytes"
    heard.stream.buffer.raw.write(b"raw")
    assert heard.data == b"raw"


def _close(stream: Any) -> None:
    stream.close()


def _close_buffer(stream: Any) -> None:
    stream.buffer.close()


def _close_detached(stream: Any) -> None:
    stream.detach().close()


def _wrap_detached(stream: Any) -> None:
    wrapped = io.TextIOWrapper(stream.detach(), encoding="latin-1")
    wrapped.write("wrapped")
    del wrapped


def _wrap_buffer(stream: Any) -> None:
    codecs.getwriter("utf-8")(stream.buffer).write("written")


def _leave_block(stream: Any) -> None:
    with stream as inner:
        inner.write("inner")


@pytest.mark.parametrize(
    "act",
    [_close, _close_buffer, _close_detached, _wrap_detached, _wrap_buffer, _leave_block],
    ids=lambda act: act.__name__,
)
def test_it_stays_usable_whatever_is_done_to_it(heard: Heard, act: Callable[[Any], None]) -> None:
    act(heard.stream)
    heard.stream.write("still here")
    heard.stream.buffer.write(b"bytes too")
    heard.stream.flush()
    assert heard.texts[-1] == "still here"
    assert heard.data.endswith(b"bytes too")
    assert os.fstat(heard.writing)


def test_tqdm_and_its_like_write_through_it(heard: Heard) -> None:
    for percent in (10, 100):
        heard.stream.write(f"\r{percent}%")
        heard.stream.flush()
    heard.stream.writelines(["\n", "done\n"])
    assert "".join(heard.texts) == "\r10%\r100%\ndone\n"
