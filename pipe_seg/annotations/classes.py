"""Class names of other people's tools → ours."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipe_seg.annotations.shapes import ShapeError
from pipe_seg.schema import CLASS_NAMES

LEFT_OUT = "-"


@dataclass(frozen=True)
class Classes:
    """How a tool's class names become ours: ``renamed`` first, then names as they are, whatever their case."""

    renamed: Mapping[str, str] = field(default_factory=dict)

    def label(self, name: object) -> int | None:
        """Give the class id, or None where the class is left out.

        Raises:
            ShapeError: no such class.
        """
        known = {text.lower(): index for index, text in enumerate(CLASS_NAMES)}
        text = self.renamed.get(str(name), str(name)).strip().lower()
        if text == LEFT_OUT:
            return None
        if not isinstance(name, str) or text not in known:
            wanted = f"one of {', '.join(CLASS_NAMES)}, or --class-map NAME=CLASS (NAME=- leaves it out)"
            raise ShapeError("unknown class", name, wanted)
        return known[text]
