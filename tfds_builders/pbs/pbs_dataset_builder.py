"""PBS, Pipe Box Segmentation: detection boxes filled in. Many frames, coarse labels."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pipe_seg.annotations import raster
from pipe_seg.annotations.folders import Layout
from pipe_seg.data import synthetic
from pipe_seg.data.examples import FrameBuilder
from pipe_seg.schema import FOLDERS, SPLITS, Annotation, Frame

RENDERED_SEED = 1
RENDERED_PIPES = {"train": range(200), "validation": range(200, 230)}


class Builder(FrameBuilder):
    """PBS from ``PipeBoxSegmentation/`` in the manual folder, or rendered."""

    FOLDER = FOLDERS["pbs"]
    HELD_OUT_FOLDERS = (f"{FOLDERS['ps']}/images",)
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "put frames into PipeBoxSegmentation/images/train and PipeBoxSegmentation/images/val (JPEG), and beside "
        "them labels/train and labels/val with one YOLO file a frame (<stem>.txt), or masks/train and masks/val "
        "with <stem>_mask.png ({0, 1} or {0, 255}); pass the folder that holds PipeBoxSegmentation as --manual-dir "
        "(tfds build: --manual_dir)"
    )

    def folder_frames(self, manual_dir: Path) -> Mapping[str, Iterable[Frame]]:
        """Give the user's frames; training leaves out every scene held out here or in PS."""
        layout = Layout(manual_dir, "box")
        contours = Layout(manual_dir.parent / FOLDERS["ps"], "contour")
        held_out = layout.groups("validation") | contours.groups("validation")
        return {
            "train": layout.frames("train", without=held_out),
            "validation": layout.frames("validation", without=contours.groups("train")),
        }

    def rendered_frames(self) -> Mapping[str, Iterable[Frame]]:
        """Give 400 frames to train on and 60 to validate on, their boxes filled in."""
        return {split: _rendered(RENDERED_PIPES[split]) for split in SPLITS}


def _rendered(pipes: Iterable[int]) -> Iterator[Frame]:
    for pipe in pipes:
        for shot in range(synthetic.SHOTS_PER_PIPE):
            frame = synthetic.render(RENDERED_SEED, pipe, shot)
            yield Frame(
                image=frame.jpeg,
                segmentation_mask=raster.rasterise(Annotation(frame.boxes), *frame.mask.shape),
                boxes=frame.boxes,
                labels=tuple(sorted({box.label for box in frame.boxes})),
                file_name=frame.name,
                group_id=frame.group_id,
                mask_source="box",
            )
