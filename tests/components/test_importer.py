from pathlib import Path

import pytest

from pipe_seg.annotations.classes import Classes
from pipe_seg.components import importer
from pipe_seg.errors import InputDataError
from tests.bad_inputs.case import jpeg


def test_a_frame_that_changes_while_it_is_imported_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    frame = tmp_path / "source" / "a.jpg"
    frame.parent.mkdir()
    frame.write_bytes(jpeg(1))
    frame.with_suffix(".txt").write_text("0 .5 .5 .2 .2\n")

    def change(done: int, total: int) -> None:
        frame.write_bytes(jpeg(2))

    order = importer.Order("yolo", Classes())
    with pytest.raises(InputDataError, match=r"a\.jpg: changed while it was imported"):
        importer.run(order, path=frame.parent, frames_dir=None, to=tmp_path / "out", report=change)
    assert list((tmp_path / "out").iterdir()) == []
