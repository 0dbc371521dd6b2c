"""TFDS and back: the features every dataset of ours has, and their frames as ``tf.data``."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from pipe_seg.errors import InputDataError, MachineError, Problem
from pipe_seg.schema import CLASS_NAMES, MASK_SOURCES, Box, Frame


def features() -> tfds.features.FeaturesDict:
    """Give the TFDS features: ``image`` is the source JPEG's bytes, ``segmentation_mask`` {0, 1}."""
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
            "segmentation_mask": tfds.features.Image(shape=(None, None, 1), dtype=np.uint8, encoding_format="png"),
            "boxes": tfds.features.Sequence(
                {"bbox": tfds.features.BBoxFeature(), "label": tfds.features.ClassLabel(names=CLASS_NAMES)}
            ),
            "labels": tfds.features.Sequence(tfds.features.ClassLabel(names=CLASS_NAMES)),
            "file_name": tfds.features.Text(),
            "group_id": tfds.features.Text(),
            "mask_source": tfds.features.ClassLabel(names=MASK_SOURCES),
        }
    )


def to_example(frame: Frame) -> dict[str, Any]:
    """Give what TFDS encodes; the JPEG goes in as a file so that it is not encoded again."""
    import io

    return {
        "image": io.BytesIO(frame.image),
        "segmentation_mask": frame.segmentation_mask[..., None],
        "boxes": [{"bbox": _bbox(box), "label": box.label} for box in frame.boxes],
        "labels": list(frame.labels),
        "file_name": frame.file_name,
        "group_id": frame.group_id,
        "mask_source": frame.mask_source,
    }


def _bbox(box: Box) -> tfds.features.BBox:
    return tfds.features.BBox(ymin=box.y_min, xmin=box.x_min, ymax=box.y_max, xmax=box.x_max)


class FrameBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """What the builders share: features, the configs ``default`` and ``synthetic``, the group rule.

    A builder says where its frames come from in ``folder_frames`` and ``rendered_frames``.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "Initial release."}
    BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = [
        tfds.core.BuilderConfig(name="default", description="Your own frames, from the manual folder."),
        tfds.core.BuilderConfig(name="synthetic", description="Rendered frames: no download, no proof of quality."),
    ]
    FOLDER: ClassVar[str]

    def folder_frames(self, manual_dir: Path) -> Mapping[str, Iterable[Frame]]:
        """Give the frames of each split found in the user's folder."""
        raise NotImplementedError

    def rendered_frames(self) -> Mapping[str, Iterable[Frame]]:
        """Give the frames of each split of the embedded default."""
        raise NotImplementedError

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(features=features(), supervised_keys=("image", "segmentation_mask"))

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        if self.builder_config.name == "synthetic":
            splits = self.rendered_frames()
        else:
            splits = self.folder_frames(self._manual_dir(dl_manager))
        return {name: self._generate_examples(frames) for name, frames in splits.items()}

    def _manual_dir(self, dl_manager: tfds.download.DownloadManager) -> Path:
        """Give the folder that holds ours, whether or not the last step of the path was given."""
        try:
            manual_dir = Path(dl_manager.manual_dir)
        except AssertionError as error:
            raise InputDataError(f"{self.MANUAL_DOWNLOAD_INSTRUCTIONS}") from error
        if (manual_dir / self.FOLDER).is_dir():
            return manual_dir / self.FOLDER
        raise InputDataError(
            Problem(manual_dir, f"no folder {self.FOLDER} here", expected=str(self.MANUAL_DOWNLOAD_INSTRUCTIONS))
        )

    def _generate_examples(self, frames: Iterable[Frame]) -> Iterator[tuple[str, dict[str, Any]]]:
        for frame in frames:
            yield frame.file_name, to_example(frame)


def load(dataset_dir: Path, split: str) -> Any:
    """Give a split as ``tf.data``: TFDS's features, ``image`` still encoded, in a fixed order.

    Raises:
        MachineError: the dataset cannot be read.
    """
    try:
        builder = tfds.builder_from_directory(dataset_dir)
        decoders = {"image": tfds.decode.SkipDecoding()}
        read = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False, add_tfds_id=False)
        return builder.as_dataset(split=split, decoders=decoders, read_config=read, shuffle_files=False)
    except (OSError, ValueError, KeyError) as error:
        cure = "a dataset built by `python cli.py data build`"
        raise MachineError(Problem(dataset_dir, f"cannot be read: {error}", expected=cure)) from error


def count(dataset_dir: Path, split: str) -> int:
    """Give the number of frames in a split."""
    return int(tfds.builder_from_directory(dataset_dir).info.splits[split].num_examples)
