"""Forms with files: only where a view declares uploads, only after the form's CSRF token, within limits from the first byte on.

A file goes to a private directory while it arrives and becomes an upload by being renamed; what is not renamed is deleted.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import IO, Any, TypeVar, cast

from flask import Request, current_app, request
from flask_login import current_user
from flask_wtf.csrf import CSRFError, validate_csrf
from werkzeug.datastructures import FileStorage, MultiDict
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser, MultiPartParser
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData
from wtforms.validators import ValidationError

from dashboard.auth import Person
from dashboard.context import yard
from dashboard.extensions import unmasked_csrf_token
from dashboard.uploads import IncomingFile
from workers.domain.errors import TooLarge

F = TypeVar("F", bound=Callable[..., Any])
Parsed = tuple[MultiDict[str, str], MultiDict[str, FileStorage]]

MAX_FIELDS = 1_000
MAX_FIELD_BYTES = 2_000_000  # of all fields that are no files, together
MAX_FILES = 10


def accepts_files(view: F) -> F:
    """Declare that the forms of a view may carry files; every other view refuses them."""
    view.taskyard_accepts_files = True  # type: ignore[attr-defined]
    return view


class BoundedRequest(Request):
    """A request whose form is read within limits; its files are deleted at its end unless they were saved."""

    max_form_parts = MAX_FIELDS

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        file = IncomingFile(yard().settings, total_content_length or 0)
        self._incoming_files().append(file)
        return cast(IO[bytes], file)

    def _load_form_data(self) -> None:
        try:
            super()._load_form_data()
        except Exception:
            # Whoever asks again, such as the page of the error, must not read on in the middle of the body.
            self.__dict__.setdefault("form", self.parameter_storage_class())
            self.__dict__.setdefault("files", self.parameter_storage_class())
            raise

    def close(self) -> None:
        """Delete the files that were not saved."""
        for file in self._incoming_files():
            file.close()
        super().close()

    def _incoming_files(self) -> list[IncomingFile]:
        files: list[IncomingFile] = self.__dict__.setdefault("taskyard_incoming", [])
        return files


class _BoundedMultiPartParser(MultiPartParser):
    """Werkzeug's reading of multipart bodies, with limits for all fields together, and a look at the fields before a file."""

    def parse(self, stream: IO[bytes], boundary: bytes, content_length: int | None) -> Parsed:
        """Read a form. Raises RequestEntityTooLarge, TooLarge, CSRFError, and ValueError for what is no form."""
        decoder = MultipartDecoder(boundary, max_form_memory_size=MAX_FIELD_BYTES, max_parts=self.max_form_parts)
        form: MultiDict[str, str] = MultiDict()
        files: MultiDict[str, FileStorage] = MultiDict()
        reader = _PartReader(self, form, files, content_length)
        while True:
            data = stream.read(self.buffer_size)
            decoder.receive_data(data or None)
            event = decoder.next_event()
            while not isinstance(event, (Epilogue, NeedData)):
                reader.take(event)
                event = decoder.next_event()
            if not data:
                return self.cls(form), self.cls(files)


class _PartReader:
    """Collects the parts of one form."""

    def __init__(
        self,
        parser: _BoundedMultiPartParser,
        form: MultiDict[str, str],
        files: MultiDict[str, FileStorage],
        content_length: int | None,
    ) -> None:
        self._parser, self._form, self._files, self._content_length = parser, form, files, content_length
        self._part: Field | File | None = None
        self._file: IO[bytes] | None = None
        self._value = bytearray()
        self._left = MAX_FIELD_BYTES

    def take(self, event: Any) -> None:
        """Take an event of the decoder."""
        if isinstance(event, (Field, File)):
            if not event.name:
                raise ValueError("a part of the form has no name")
            self._part, self._file, self._value = event, None, bytearray()
        if isinstance(event, File):
            self._file = self._open(event)
        if isinstance(event, Data):
            self._add(event.data)
            if not event.more_data:
                self._finish()

    def _open(self, event: File) -> IO[bytes]:
        if not event.filename:
            return _EmptyFile()  # a file field that was left empty
        permit_file(self._form)
        if sum(1 for _name, file in self._files.items(multi=True) if file.filename) >= MAX_FILES:
            raise TooLarge(f"A form has at most {MAX_FILES} files.", "body")
        return self._parser.start_file_streaming(event, self._content_length)

    def _add(self, data: bytes | bytearray) -> None:
        if self._file is not None:
            self._file.write(data)
            return
        self._left -= len(data)
        if self._left < 0:
            raise RequestEntityTooLarge
        self._value += data

    def _finish(self) -> None:
        part = self._part
        if isinstance(part, Field):
            charset = self._parser.get_part_charset(part.headers)
            self._form.add(part.name, self._value.decode(charset))
        elif isinstance(part, File) and self._file is not None:
            self._file.seek(0)
            self._files.add(part.name, FileStorage(self._file, part.filename, part.name, headers=part.headers))


class _EmptyFile(BytesIO):
    """The content of a file field in which no file was chosen: none."""

    def write(self, data: Any) -> int:
        """Raise ValueError for content."""
        if data:
            raise ValueError("a file has content but no name")
        return 0


class BoundedFormParser(FormDataParser):
    """Werkzeug's form parser with the multipart reader of this module."""

    def _parse_multipart(
        self, stream: IO[bytes], mimetype: str, content_length: int | None, options: dict[str, str]
    ) -> tuple[IO[bytes], MultiDict[str, str], MultiDict[str, FileStorage]]:
        boundary = options.get("boundary", "").encode("ascii")
        if not boundary or len(boundary) > 200:
            raise ValueError("the boundary is missing or too long")
        parser = _BoundedMultiPartParser(self.stream_factory, None, self.cls, max_form_parts=self.max_form_parts)
        form, files = parser.parse(stream, boundary, content_length)
        return stream, form, files


def permit_file(fields: MultiDict[str, str]) -> None:
    """Raise TooLarge where no file is accepted, CSRFError when the form's token did not come before its first file."""
    view = current_app.view_functions.get(request.endpoint or "")
    if not getattr(view, "taskyard_accepts_files", False):
        raise TooLarge("This path does not accept files.", "body")
    if not isinstance(current_user._get_current_object(), Person):
        return  # a token is checked by itself, and nobody else comes this far
    try:
        validate_csrf(unmasked_csrf_token(request.headers.get("X-CSRFToken") or fields.get("csrf_token")))
    except ValidationError as error:
        raise CSRFError(str(error)) from error
