"""PS, Pipe Segmentation: few frames with accurate labels, contours drawn by hand."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipe_seg.annotations.folders import Layout, contour_frames
from pipe_seg.annotations.frame_file import FrameFile
from pipe_seg.data import synthetic
from pipe_seg.data.examples import FrameBuilder
from pipe_seg.schema import FOLDERS, Frame

RENDERED_SEED = 1
RENDERED_PIPES = {"train": range(1000, 1020), "validation": range(1020, 1050)}


class Builder(FrameBuilder):
    """PS from ``PipeSegmentation/`` in the manual folder, or rendered."""

    FOLDER = FOLDERS["ps"]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "put frames into PipeSegmentation/images/train and PipeSegmentation/images/val (JPEG, PNG or BMP), and beside "
        "them masks/train and masks/val with <stem>_mask.png or <stem>.png ({0, 1} or {0, 255}), or VIA polygons in "
        "annotations/via_train.csv and annotations/via_val.csv; pass the folder that holds PipeSegmentation as "
        "--manual-dir (tfds build: --manual_dir)"
    )

    def folder_frames(self, manual_dir: Path) -> Mapping[str, Sequence[FrameFile]]:
        """Returns the user's frames; training excludes held-out scenes and all copies of their frames."""
        return contour_frames(Layout(manual_dir, "contour"))

    def rendered_frames(self) -> Mapping[str, Sequence["RenderedContours"]]:
        """Returns 40 training and 60 validation frames with their exact contours."""
        shots = range(synthetic.SHOTS_PER_PIPE)
        return {
            split: [RenderedContours(pipe, shot) for pipe in pipes for shot in shots]
            for split, pipes in RENDERED_PIPES.items()
        }


class RenderedContours(synthetic.Shot):
    """A rendered frame, created on reading."""

    def read(self) -> Frame:
        """Returns the rendered frame with its exact contour."""
        frame = synthetic.render(RENDERED_SEED, self.pipe, self.shot)
        return Frame(
            image=frame.jpeg,
            segmentation_mask=frame.mask,
            boxes=frame.boxes,
            labels=frame.labels,
            file_name=frame.name,
            group_id=frame.group_id,
            mask_source="contour",
        )
