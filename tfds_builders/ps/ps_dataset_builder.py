"""PS, Pipe Segmentation: contours drawn by hand. Accurate, few."""

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
        """Give the user's frames; training leaves out every scene that is held out, and every copy."""
        return contour_frames(Layout(manual_dir, "contour"))

    def rendered_frames(self) -> Mapping[str, Sequence["RenderedContours"]]:
        """Give 40 frames to train on and 60 to validate on, with their exact contours."""
        shots = range(synthetic.SHOTS_PER_PIPE)
        return {
            split: [RenderedContours(pipe, shot) for pipe in pipes for shot in shots]
            for split, pipes in RENDERED_PIPES.items()
        }


class RenderedContours(synthetic.Shot):
    """A frame that waits to be rendered."""

    def read(self) -> Frame:
        """Render it, with its exact contour."""
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
