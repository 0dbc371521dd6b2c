"""Frames → examples as TFDS encodes them, read in threads of this process or on Beam's workers."""

import io
import json
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow_datasets as tfds

from pipe_seg import images
from pipe_seg.data.dataset_counts import DatasetCounts
from pipe_seg.errors import InputDataError
from pipe_seg.schema import CLASS_NAMES, MASK_SOURCES, Box, Frame

AHEAD = 64


def features() -> tfds.features.FeaturesDict:
    """Returns the TFDS features: ``image`` is the source JPEG's bytes, ``segmentation_mask`` {0, 1}."""
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
            "segmentation_mask": tfds.features.Image(shape=(None, None, 1), dtype=np.uint8, encoding_format="png"),
            "boxes": tfds.features.Sequence(
                {
                    "bbox": tfds.features.BBoxFeature(),
                    "label": tfds.features.ClassLabel(names=CLASS_NAMES),
                    "refined": np.bool_,
                }
            ),
            "labels": tfds.features.Sequence(tfds.features.ClassLabel(names=CLASS_NAMES)),
            "file_name": tfds.features.Text(),
            "group_id": tfds.features.Text(),
            "mask_source": tfds.features.ClassLabel(names=MASK_SOURCES),
        }
    )


def to_example(frame: Frame) -> dict[str, Any]:
    """Returns what TFDS encodes; image and mask are files, so TFDS does not encode them again."""
    return {
        "image": io.BytesIO(frame.image),
        "segmentation_mask": io.BytesIO(images.encode(frame.segmentation_mask, ".png")),
        "boxes": [{"bbox": _bbox(box), "label": box.label, "refined": box.refined} for box in frame.boxes],
        "labels": list(frame.labels),
        "file_name": frame.file_name,
        "group_id": frame.group_id,
        "mask_source": frame.mask_source,
    }


def _bbox(box: Box) -> tfds.features.BBox:
    return tfds.features.BBox(ymin=box.y_min, xmin=box.x_min, ymax=box.y_max, xmax=box.x_max)


class FrameSource(Protocol):
    """A frame that any worker can make, given nothing but this object."""

    @property
    def key(self) -> str:
        """A name that no other frame of the split has."""

    @property
    def group_id(self) -> str:
        """The scene it belongs to."""

    def read(self) -> Frame:
        """Returns the frame.

        Raises:
            InputDataError: it cannot be used.
        """


Made = tuple[str, dict[str, Any], DatasetCounts]


def _made(frame: FrameSource) -> Made:
    """Returns a frame's key, its example (empty if it cannot be used) and its counts."""
    try:
        found = frame.read()
    except InputDataError as error:
        return frame.key, {}, DatasetCounts(left_out={frame.key: [str(problem) for problem in error.problems]})
    return frame.key, to_example(found), DatasetCounts.of(found)


def encode_ahead(frames: Sequence[FrameSource]) -> Iterator[Made]:
    """Yields frames in order, made a few ahead of the caller: decoding releases Python's lock."""
    with ThreadPoolExecutor() as pool:
        pending: deque[Any] = deque()
        for frame in frames:
            pending.append(pool.submit(_made, frame))
            if len(pending) > AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def encode_on_beam(frames: Sequence[FrameSource], counts_file: str) -> Any:
    """Returns the Beam transform that makes the frames and writes their counts to ``counts_file``."""
    import apache_beam as beam

    def expand(pipeline: Any) -> Any:
        sources = pipeline | "Frames" >> beam.Create(list(frames)) | "Spread" >> beam.Reshuffle()
        made = sources | "Make" >> beam.Map(_made)
        counts = made | "Counts" >> beam.Map(_counts) | "Sum" >> beam.CombineGlobally(DatasetCounts.sum)
        _ = counts | "Write" >> beam.Map(_write, counts_file)
        return made | "Good" >> beam.Filter(_example) | "Pair" >> beam.Map(_pair)

    return beam.ptransform_fn(expand)()


def _counts(made: Made) -> DatasetCounts:
    return made[2]


def _example(made: Made) -> dict[str, Any]:
    return made[1]


def _pair(made: Made) -> tuple[str, dict[str, Any]]:
    return made[0], made[1]


def _write(counts: DatasetCounts, path: str) -> None:
    Path(path).write_text(json.dumps(counts.to_json()), "utf-8")
