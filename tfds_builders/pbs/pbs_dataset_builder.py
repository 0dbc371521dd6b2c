"""PBS, Pipe Box Segmentation: many frames with coarse labels, boxes filled in."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipe_seg.annotations import raster
from pipe_seg.annotations.folders import Layout, check_apart, check_made_together, held_out_frames
from pipe_seg.annotations.frame_file import FrameFile
from pipe_seg.data import synthetic
from pipe_seg.data.examples import FrameBuilder
from pipe_seg.schema import FOLDERS, Annotation, Frame

RENDERED_SEED = 1
RENDERED_PIPES = {"train": range(200), "validation": range(200, 230)}


class Builder(FrameBuilder):
    """PBS from ``PipeBoxSegmentation/`` in the manual folder, or rendered."""

    FOLDER = FOLDERS["pbs"]
    ALSO_READS = (f"{FOLDERS['ps']}/images", f"{FOLDERS['ps']}/splits.json")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "put frames into PipeBoxSegmentation/images/train and PipeBoxSegmentation/images/val (JPEG, PNG or BMP), and "
        "beside them labels/train and labels/val with one YOLO file a frame (<stem>.txt), or masks/train and masks/val "
        "with <stem>_mask.png ({0, 1} or {0, 255}); pass the folder that holds PipeBoxSegmentation as --manual-dir "
        "(tfds build: --manual_dir)"
    )

    def folder_frames(self, manual_dir: Path) -> Mapping[str, Sequence[FrameFile]]:
        """Returns the user's frames; training excludes scenes and copies held out here or in PS."""
        layout = Layout(manual_dir, "box")
        contours = Layout(manual_dir.parent / FOLDERS["ps"], "contour")
        check_made_together(layout, contours)
        held_out = contours.groups("validation") | contours.groups("test")
        held_out_here = set() if layout.legacy else layout.groups("validation") | layout.groups("test")
        held_out_paths = contours.paths("validation", "test") + (
            [] if layout.legacy else layout.paths("validation", "test")
        )
        splits = {"train": layout.frames("train", without=held_out | held_out_here, apart_from=held_out_paths)}
        check_apart(splits["train"], held_out | held_out_here)
        return splits | held_out_frames(layout, contours.groups("train"))

    def rendered_frames(self) -> Mapping[str, Sequence["RenderedBoxes"]]:
        """Returns 400 training and 60 validation frames, their boxes filled in."""
        shots = range(synthetic.SHOTS_PER_PIPE)
        return {
            split: [RenderedBoxes(pipe, shot) for pipe in pipes for shot in shots]
            for split, pipes in RENDERED_PIPES.items()
        }


class RenderedBoxes(synthetic.Shot):
    """A rendered frame, created on reading."""

    def read(self) -> Frame:
        """Returns the rendered frame with its boxes filled in."""
        frame = synthetic.render(RENDERED_SEED, self.pipe, self.shot)
        return Frame(
            image=frame.jpeg,
            segmentation_mask=raster.rasterise(Annotation(frame.boxes), *frame.mask.shape),
            boxes=frame.boxes,
            labels=tuple(sorted({box.label for box in frame.boxes})),
            file_name=frame.name,
            group_id=frame.group_id,
            mask_source="box",
        )
