"""Numbers in label files: plain ASCII decimals and nothing that Python also happens to accept."""

import re

DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)


def decimal(text: str) -> float | None:
    """Give the finite number that ``text`` writes, or None: ``nan``, ``1_000`` and ``١٢`` are none."""
    if not DECIMAL.fullmatch(text):
        return None
    value = float(text)
    return value if abs(value) < 1e300 else None
