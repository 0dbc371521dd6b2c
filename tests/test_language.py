"""The code speaks the field's language: docstrings name what comes back, and replaced words are gone."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

SOURCES = sorted(path for top in ("pipe_seg", "tfds_builders") for path in (ROOT / top).rglob("*.py"))
OPENINGS = re.compile(r"(Give|Say|Tell|Ask)s?\b")
FIRST_LINE_LIMIT = 100
REPLACED = {
    *("told", "untold", "taught", "say", "tell", "look", "looks", "tally", "tallies", "known", "fitting", "ladder"),
    *(
        "climb",
        "rung",
        "rungs",
        "routed",
        "spoil",
        "lesson",
        "planes",
        "waiting",
        "drawing",
        "taken",
        "asked",
        "asking",
    ),
    *("board", "gate", "dialect", "admission", "speck", "specks", "blob", "blobs", "claim", "claims", "claimed"),
    *("flatters", "place", "places"),
}
JOINED = {"false_area", "ring_fill", "a_batch", "smallest_blob", "minimum_blob"}
# words of this list that a public name uses in its ordinary sense
KEPT = {"KnownHosts", "TensorBoardLogger"}

Public = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in SOURCES:
        yield path, ast.parse(path.read_text("utf-8"))


def documented() -> Iterator[tuple[str, str]]:
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                text = ast.get_docstring(node)
                if text:
                    yield f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}", text


def public_names() -> Iterator[tuple[str, str]]:
    for path, tree in trees():
        where = path.relative_to(ROOT)
        if not any(part.startswith("_") for part in path.stem.removeprefix("__").split()):
            yield f"{where}", path.stem
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith(
                "_"
            ):
                yield f"{where}:{node.lineno}", node.name
                arguments = node.args if not isinstance(node, ast.ClassDef) else None
                for argument in (*arguments.args, *arguments.kwonlyargs) if arguments else ():
                    yield f"{where}:{argument.lineno}", argument.arg
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                for field in node.body:
                    if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                        yield f"{where}:{field.lineno}", field.target.id


def words(name: str) -> set[str]:
    """The words of a name in snake_case, CamelCase or CAPITALS, and the name itself in lower case."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return {part.lower() for part in spaced.split("_") if part} | {name.lower()}


def test_there_is_something_to_check() -> None:
    assert len(SOURCES) > 100
    assert len(list(documented())) > 900
    assert len(list(public_names())) > 1500
    assert words("RoutedLoss") >= {"routed", "loss"}
    assert OPENINGS.match("Gives a number")


@pytest.mark.parametrize("top", ["pipe_seg", "tfds_builders"])
def test_a_docstring_opens_with_what_comes_back_or_what_happens(top: str) -> None:
    assert [where for where, text in documented() if where.startswith(top) and OPENINGS.match(text)] == []


def test_a_docstring_s_first_line_is_short() -> None:
    lines = ((where, text.splitlines()[0]) for where, text in documented())
    assert [(where, line) for where, line in lines if len(line) > FIRST_LINE_LIMIT] == []


def test_no_public_name_uses_a_word_that_was_replaced() -> None:
    found = [(where, name) for where, name in public_names() if words(name) & (REPLACED | JOINED) and name not in KEPT]
    assert found == []
