from pathlib import Path

import pytest

from pipe_seg import artifacts, disk, pipeline
from pipe_seg.artifacts import Dataset
from pipe_seg.errors import ConflictError


def test_a_dataset_built_again_from_other_files_is_not_scored_on(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path)
    disk.write_json(tmp_path / artifacts.INPUTS, {"digest": "a"})
    pipeline.check_same({dataset: "a"})
    disk.write_json(tmp_path / artifacts.INPUTS, {"digest": "b"})
    with pytest.raises(ConflictError, match="was built again"):
        pipeline.check_same({dataset: "a"})
