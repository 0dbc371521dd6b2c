"""Reads label files as text, JSON and XML, with limits on size and nesting."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser
from pydantic import BaseModel, ValidationError

from pipe_seg.errors import InputDataError, Problem, RefusedError

MAX_BYTES = 50_000_000
MAX_DEPTH = 64
ENCODING = re.compile(rb"<\?xml[^>]*encoding\s*=\s*[\"']([^\"']*)")

Model = TypeVar("Model", bound=BaseModel)


def read_bytes(path: Path, limit: int = MAX_BYTES) -> bytes:
    """Returns the bytes of a file.

    Raises:
        InputDataError: The file cannot be read, or is larger than ``limit`` bytes.
    """
    try:
        size = path.stat().st_size
        if size > limit:
            raise InputDataError(Problem(path, "file too large", got=f"{size} bytes", expected=f"at most {limit}"))
        return path.read_bytes()
    except OSError as error:
        raise InputDataError(Problem(path, f"cannot be read: {error.strerror}")) from error


def read_text(path: Path, encoding: str = "utf-8-sig") -> str:
    """Returns the text of a UTF-8 file.

    Raises:
        InputDataError: The file cannot be read, is too large, or is not UTF-8.
    """
    return _decoded(path, read_bytes(path), encoding)


def _decoded(path: Path, data: bytes, encoding: str = "utf-8") -> str:
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputDataError(Problem(path, "not UTF-8 text", line, expected="a file saved as UTF-8")) from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise InputDataError(Problem(path, "zero bytes in a text file", line, expected="a file saved as UTF-8"))
    return text


def read_json(path: Path, model: type[Model]) -> Model:
    """Returns a JSON file as ``model``.

    Raises:
        InputDataError: The file is not JSON (with line and column), or values do not fit (each with its JSON pointer).
    """
    return validated(path, parse_json(path, read_text(path, "utf-8")), model)


def parse_json(path: Path, text: str, line: int | None = None) -> Any:
    """Returns the value of strict JSON text: no NaN, infinity, duplicate keys or deep nesting.

    Raises:
        InputDataError: The text is anything else. The problem has ``line`` if given, else JSON's line and column.
    """
    try:
        if text.count("[") + text.count("{") > MAX_DEPTH:
            _check_depth(text)
        return json.loads(text, parse_constant=_constant, parse_float=_float, object_pairs_hook=_unique_keys)
    except json.JSONDecodeError as error:
        position = (line, None) if line else (error.lineno, error.colno)
        raise InputDataError(Problem(path, f"not JSON: {error.msg}", position[0], column=position[1])) from error
    except (ValueError, RecursionError) as error:
        raise InputDataError(Problem(path, f"not strict JSON: {error or 'nested too deeply'}", line)) from error


def validated(path: Path, value: Any, model: type[Model], pointer: str = "") -> Model:
    """Returns ``value`` as ``model``.

    Raises:
        InputDataError: Values do not fit; one problem per value, below ``pointer``.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problems = [
            Problem(path, detail["msg"], got=_short(detail["input"]), pointer=pointer + _pointer(detail["loc"]))
            for detail in error.errors(include_url=False, include_context=False)
        ]
        raise InputDataError(*problems) from error


def read_xml(path: Path) -> Any:
    """Returns the root element of an XML file; every element has its ``line``.

    Raises:
        RefusedError: The file declares a document type or entities.
        InputDataError: The file is not well-formed (with line and column) or not UTF-8.
    """
    from xml.etree.ElementTree import ParseError

    data = read_bytes(path)
    declared = ENCODING.match(data.removeprefix(b"\xef\xbb\xbf"))
    if declared and declared[1].lower() not in (b"utf-8", b"utf8", b"us-ascii", b"ascii"):
        raise InputDataError(Problem(path, "unsupported encoding", 1, declared[1].decode("latin-1"), "UTF-8"))
    text = _decoded(path, data, "utf-8-sig")
    parser = _Lines(forbid_dtd=True)
    try:
        parser.feed(text.encode())
        return parser.close()
    except DefusedXmlException as error:
        raise RefusedError(Problem(path, "document type or entities", got=str(error), expected="plain XML")) from error
    except ParseError as error:
        line, column = error.position
        raise InputDataError(Problem(path, f"not XML: {error.msg}", line, column=column + 1)) from error


class _Lines(DefusedXMLParser):
    """An XML parser that stores the line of every element in the element."""

    def _start(self, *arguments: Any) -> Any:
        element = super()._start(*arguments)  # type: ignore[misc]
        element.line = self.parser.CurrentLineNumber
        return element


def _check_depth(text: str) -> None:
    depth, quoted = 0, False
    for found in re.finditer(r'\\.|["\[\]{}]', text):
        character = found[0]
        if character == '"':
            quoted = not quoted
        elif not quoted and character in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise ValueError(f"nested deeper than {MAX_DEPTH}")
        elif not quoted and character in "]}":
            depth -= 1


def _constant(text: str) -> float:
    raise ValueError(f"{text} is not a number")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is out of range")
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"duplicate key {next(name for name in names if names.count(name) > 1)!r}")
    return found


def _pointer(location: tuple[int | str, ...]) -> str:
    escape: Callable[[int | str], str] = lambda part: str(part).replace("~", "~0").replace("/", "~1")  # noqa: E731
    return "".join(f"/{escape(part)}" for part in location)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
