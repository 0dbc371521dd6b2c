"""PS, Pipe Segmentation: contours drawn by hand. Accurate, few."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pipe_seg.annotations.folders import Layout
from pipe_seg.data import synthetic
from pipe_seg.data.examples import FrameBuilder
from pipe_seg.schema import FOLDERS, SPLITS, Frame

RENDERED_SEED = 1
RENDERED_PIPES = {"train": range(1000, 1020), "validation": range(1020, 1050)}


class Builder(FrameBuilder):
    """PS from ``PipeSegmentation/`` in the manual folder, or rendered."""

    FOLDER = FOLDERS["ps"]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "put frames into PipeSegmentation/images/train and PipeSegmentation/images/val (JPEG), and beside them "
        "masks/train and masks/val with <stem>_mask.png or <stem>.png ({0, 1} or {0, 255}), or VIA polygons in "
        "annotations/via_train.csv and annotations/via_val.csv; pass the folder that holds PipeSegmentation as "
        "--manual-dir (tfds build: --manual_dir)"
    )

    def folder_frames(self, manual_dir: Path) -> Mapping[str, Iterable[Frame]]:
        """Give the user's frames; training leaves out every scene that is held out."""
        layout = Layout(manual_dir, "contour")
        return {
            "train": layout.frames("train", without=layout.groups("validation")),
            "validation": layout.frames("validation"),
        }

    def rendered_frames(self) -> Mapping[str, Iterable[Frame]]:
        """Give 40 frames to train on and 60 to validate on, with their exact contours."""
        return {split: _rendered(RENDERED_PIPES[split]) for split in SPLITS}


def _rendered(pipes: Iterable[int]) -> Iterator[Frame]:
    for pipe in pipes:
        for shot in range(synthetic.SHOTS_PER_PIPE):
            frame = synthetic.render(RENDERED_SEED, pipe, shot)
            yield Frame(
                image=frame.jpeg,
                segmentation_mask=frame.mask,
                boxes=frame.boxes,
                labels=frame.labels,
                file_name=frame.name,
                group_id=frame.group_id,
                mask_source="contour",
            )
