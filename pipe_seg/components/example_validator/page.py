"""What was found, as one self-contained page with the pictures."""

import base64
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape

from pipe_seg import images
from pipe_seg.components.example_validator import Anomaly
from pipe_seg.data.statistics import Statistics
from pipe_seg.schema import CLASS_NAMES

SHOWN_OF_A_KIND = 60
PICTURES_OF_ONE = 6
PICTURE_WIDTH_PX = 240
TITLES = {
    "unusable": "Frames that cannot be used",
    "orphan": "Labels without a frame",
    "masks": "Masks of two kinds",
    "leak": "Scenes on both sides of a split",
    "copy": "Copies and look-alikes inside a split",
    "oddity": "Oddities",
    "class": "Classes without a frame",
}


def render(statistics: Statistics, anomalies: Sequence[Anomaly]) -> str:
    """Returns the HTML."""
    environment = Environment(
        loader=PackageLoader("pipe_seg.components.example_validator"), autoescape=select_autoescape(default=True)
    )
    counts = Counter(anomaly.kind for anomaly in anomalies)
    sections = [
        {
            "title": TITLES[kind],
            "n": counts[kind],
            "severity": next(anomaly.severity for anomaly in anomalies if anomaly.kind == kind),
            "cards": [_card(anomaly) for anomaly in anomalies if anomaly.kind == kind][:SHOWN_OF_A_KIND],
        }
        for kind in TITLES
        if counts[kind]
    ]
    return environment.get_template("check.html").render(
        figures=statistics.to_json(), sections=sections, classes=CLASS_NAMES
    )


def _card(anomaly: Anomaly) -> dict[str, Any]:
    pictures = [{"name": path.name, "data": _picture(path)} for path in anomaly.frames[:PICTURES_OF_ONE]]
    return {"text": str(anomaly.problem), "pictures": [picture for picture in pictures if picture["data"]]}


def _picture(path: Path) -> str:
    try:
        pixels = images.decode(path.read_bytes())
    except (OSError, ValueError):
        return ""
    return base64.b64encode(images.encode(images.narrow(pixels, PICTURE_WIDTH_PX), ".jpg", 80)).decode("ascii")
