"""The request as views see it: every text of its query and form is checked before anybody reads it."""

from __future__ import annotations

from typing import IO, Any
from urllib.parse import parse_qsl

from flask import Flask
from werkzeug.datastructures import ImmutableMultiDict, MultiDict
from werkzeug.utils import cached_property

from dashboard.multipart import MAX_FIELDS, BoundedFormParser, BoundedRequest
from workers.domain.errors import BadInput, Malformed, TooLarge
from workers.domain.texts import check_text, quoted

MAX_NAME_CHARACTERS = 500
MAX_FILE_NAME_CHARACTERS = 1_000
_REPLACEMENT = "\ufffd"  # what multipart bodies hold after decoding in place of bytes that are not UTF-8


class FormParser(BoundedFormParser):
    """Reads forms strictly: a form that is broken, too long or holds impossible text is refused, never half read."""

    def parse(
        self, stream: IO[bytes], mimetype: str, content_length: int | None, options: dict[str, str] | None = None
    ) -> tuple[IO[bytes], MultiDict[str, str], MultiDict[str, Any]]:
        """Read a form. Raises Malformed, BadInput and TooLarge."""
        self.silent = False
        try:
            stream, form, files = super().parse(stream, mimetype, content_length, options)
        except ValueError as error:
            raise Malformed(f"The form cannot be read as {mimetype}: {error}.", "body") from error
        _check_fields(form)
        for name, file in files.items(multi=True):
            _check_name(name)
            check_text(file.filename or "", _shown(name), MAX_FILE_NAME_CHARACTERS)
        return stream, form, files

    def _parse_urlencoded(
        self, stream: IO[bytes], mimetype: str, content_length: int | None, options: dict[str, str]
    ) -> tuple[IO[bytes], MultiDict[str, str], MultiDict[str, Any]]:
        raw = stream.read()
        if raw.count(b"&") >= MAX_FIELDS:
            raise TooLarge(f"A form has at most {MAX_FIELDS:,} fields.", "body")
        items = parse_qsl(raw.decode("utf-8"), keep_blank_values=True, errors="strict")
        return stream, self.cls(items), self.cls()

    def _parse_multipart(
        self, stream: IO[bytes], mimetype: str, content_length: int | None, options: dict[str, str]
    ) -> tuple[IO[bytes], MultiDict[str, str], MultiDict[str, Any]]:
        stream, form, files = super()._parse_multipart(stream, mimetype, content_length, options)
        if any(name is None for name in (*form, *files)):
            raise ValueError("a part has no name")
        if any(_REPLACEMENT in name or _REPLACEMENT in value for name, value in form.items(multi=True)):
            raise ValueError("a field is not UTF-8")
        return stream, form, files


class CheckedRequest(BoundedRequest):
    """A request whose query and form hold only text that can be stored."""

    form_data_parser_class = FormParser

    @cached_property
    def args(self) -> MultiDict[str, str]:
        """Return the parameters of the query. Raises BadInput for text that cannot be stored."""
        # The outermost check has found the query to be UTF-8.
        items = parse_qsl(self.query_string.decode("utf-8"), keep_blank_values=True, errors="strict")
        found = ImmutableMultiDict(items)
        _check_fields(found)
        return found


def init(app: Flask) -> None:
    """Read every request so."""
    app.request_class = CheckedRequest


def _check_fields(fields: MultiDict[str, str]) -> None:
    for name, value in fields.items(multi=True):
        _check_name(name)
        check_text(value, _shown(name))


def _check_name(name: str) -> None:
    if len(name) > MAX_NAME_CHARACTERS:
        raise BadInput(f"The name of a field has at most {MAX_NAME_CHARACTERS} characters.", quoted(name))
    check_text(name, quoted(name))


def _shown(name: str) -> str:
    return name if name.isprintable() and len(name) <= 100 else quoted(name)
