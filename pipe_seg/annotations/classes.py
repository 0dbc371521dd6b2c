"""Maps the class names of annotation tools to the project's classes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipe_seg.annotations.shapes import ShapeError
from pipe_seg.schema import CLASS_NAMES

LEFT_OUT = "-"


@dataclass(frozen=True)
class Classes:
    """Maps class names to class ids: by ``renamed`` first, then by equal names, ignoring case."""

    renamed: Mapping[str, str] = field(default_factory=dict)

    def label(self, name: object) -> int | None:
        """Returns the class id, or None where ``renamed`` maps the class to ``-`` (leave it out).

        Raises:
            ShapeError: The class is unknown.
        """
        known = {text.lower(): index for index, text in enumerate(CLASS_NAMES)}
        text = self.renamed.get(str(name), str(name)).strip().lower()
        if text == LEFT_OUT:
            return None
        if not isinstance(name, str) or text not in known:
            expected = f"one of {', '.join(CLASS_NAMES)}, or --class-map NAME=CLASS (NAME=- leaves it out)"
            raise ShapeError("unknown class", name, expected)
        return known[text]
