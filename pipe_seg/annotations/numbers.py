"""Parses the numbers in label files: plain ASCII decimals only."""

import re

DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)


def decimal(text: str) -> float | None:
    """Returns the finite number in ``text``, or None; ``nan``, ``1_000`` and ``١٢`` are not numbers."""
    if not DECIMAL.fullmatch(text):
        return None
    value = float(text)
    return value if abs(value) < 1e300 else None
