"""TFDS and back: the features every dataset of ours has, and their frames as ``tf.data``."""

import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from pipe_seg import disk
from pipe_seg.data import data_card
from pipe_seg.data.data_card import Facts
from pipe_seg.data.dataset_counts import DatasetCounts
from pipe_seg.data.encoding import FrameSource, encode_ahead, encode_on_beam, features
from pipe_seg.errors import ConfigError, InputDataError, MachineError, Problem, Tolerance, invocation
from pipe_seg.schema import MASK_SOURCES, Box, Frame

COUNTS = "counts-{}.json"
ENCODED = {"image": tfds.decode.SkipDecoding()}

log = logging.getLogger(__name__)


class FrameBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """What the builders share: features, the configs ``default`` and ``synthetic``, the group rule.

    A builder defines its frames in ``folder_frames`` and ``rendered_frames``. They are read in
    this process, or on Beam's workers where Beam options were given; the records are the same.
    """

    VERSION = tfds.core.Version("1.2.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {
        "1.0.0": "Initial release.",
        "1.1.0": "boxes/refined.",
        "1.2.0": "mask_source without `none`.",
    }
    BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = [
        tfds.core.BuilderConfig(name="default", description="Your own frames, from the manual folder."),
        tfds.core.BuilderConfig(name="synthetic", description="Rendered frames: no download, no proof of quality."),
    ]
    FOLDER: ClassVar[str]

    def __init__(self, **kwargs: Any) -> None:
        """Take what every TFDS builder takes."""
        super().__init__(**kwargs)
        self.tolerance = Tolerance()
        self.counts: dict[str, DatasetCounts] = {}
        self.totals: dict[str, int] = {}
        self.groups: dict[str, list[str]] = {}
        self.progress: Callable[[str, int, int], None] = lambda split, done, total: None
        self._folder: Path | None = None
        self._on_beam = False

    def folder_frames(self, manual_dir: Path) -> Mapping[str, Sequence[FrameSource]]:
        """Returns the frames of each split found in the user's folder."""
        raise NotImplementedError

    def rendered_frames(self) -> Mapping[str, Sequence[FrameSource]]:
        """Returns the frames of each split of the embedded default."""
        raise NotImplementedError

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(features=features(), supervised_keys=("image", "segmentation_mask"))

    def _download_and_prepare(self, dl_manager: Any, download_config: Any = None) -> None:
        self._on_beam = bool(download_config and (download_config.beam_options or download_config.beam_runner))
        self.counts = {}
        super()._download_and_prepare(dl_manager, download_config)
        for split in self.totals if self._on_beam else ():
            path = Path(self.data_dir) / COUNTS.format(split)
            self.counts[split] = DatasetCounts.from_json(json.loads(path.read_text("utf-8")))
            path.unlink()
        self._judge()
        name = f"{self.name}/{self.builder_config.name}"
        card = Facts(name, str(self.version), self._folder, self.counts, self.groups)
        data_card.write(Path(self.data_dir), card)

    def download_and_prepare(self, **options: Any) -> None:
        """Build as TFDS does, one builder at a time; what a dead one left behind is cleared."""
        place = Path(self.data_dir).parent
        with disk.locked(place, lambda: log.warning("another build holds %s: waiting", place)):
            for stale in place.glob(f"incomplete.*_{self.version}"):
                shutil.rmtree(stale, ignore_errors=True)
            super().download_and_prepare(**options)

    def _judge(self) -> None:
        left_out = {name: problems for counts in self.counts.values() for name, problems in counts.left_out.items()}
        self.tolerance.judge(left_out, sum(self.totals.values()))
        empty = [split for split, counts in self.counts.items() if len(counts.left_out) == self.totals[split]]
        if empty:
            every = [problem for problems in left_out.values() for problem in problems]
            raise InputDataError(f"{empty[0]}: not one frame can be used", *every)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        if self.builder_config.name == "synthetic":
            splits = self.rendered_frames()
        else:
            self._folder = self._manual_dir(dl_manager)
            splits = self.folder_frames(self._folder)
        self.totals = {name: len(frames) for name, frames in splits.items()}
        self.groups = {name: [frame.group_id for frame in frames] for name, frames in splits.items()}
        return {name: self._generate_examples(name, frames) for name, frames in splits.items()}

    def _manual_dir(self, dl_manager: tfds.download.DownloadManager) -> Path:
        """Returns the folder of this data set inside ``manual_dir``."""
        try:
            manual_dir = Path(dl_manager.manual_dir)
        except AssertionError as error:
            raise InputDataError(f"{self.MANUAL_DOWNLOAD_INSTRUCTIONS}") from error
        if (manual_dir / self.FOLDER).is_dir():
            return manual_dir / self.FOLDER
        raise InputDataError(
            Problem(manual_dir, f"no folder {self.FOLDER} here", expected=str(self.MANUAL_DOWNLOAD_INSTRUCTIONS))
        )

    def _generate_examples(self, split: str, frames: Sequence[FrameSource]) -> Any:
        if self._on_beam:
            return encode_on_beam(frames, str(Path(self.data_dir) / COUNTS.format(split)))
        return self._here(split, frames)

    def _here(self, split: str, frames: Sequence[FrameSource]) -> Iterator[tuple[str, dict[str, Any]]]:
        counts = self.counts[split] = DatasetCounts()
        for done, (key, example, noted) in enumerate(encode_ahead(frames), 1):
            counts.add(noted)
            if example:
                yield key, example
            self.progress(split, done, len(frames))
        self._judge()


def load(dataset_dir: Path, split: str) -> Any:
    """Returns a split as ``tf.data``: TFDS's features, ``image`` still encoded, in a fixed order.

    Raises:
        MachineError: the dataset cannot be read.
    """
    return _loaded(dataset_dir, split, ENCODED)


def load_encoded(dataset_dir: Path, split: str) -> Any:
    """Returns a split as ``load`` does, with ``segmentation_mask`` still encoded too, to save memory."""
    return _loaded(dataset_dir, split, {name: tfds.decode.SkipDecoding() for name in ("image", "segmentation_mask")})


def decode_mask(example: dict[str, Any]) -> dict[str, Any]:
    """Returns an example of ``load_encoded`` as one of ``load``; works in a ``tf.data`` graph."""
    import tensorflow as tf

    return {**example, "segmentation_mask": tf.io.decode_png(example["segmentation_mask"], channels=1)}


def encoded_images(dataset_dir: Path, split: str) -> Iterator[bytes]:
    """Yields the files of a split's frames, in the order of ``load``; nothing is decoded.

    Raises:
        MachineError: the dataset cannot be read.
    """
    alone = tfds.decode.PartialDecoding({"image": True}, decoders=ENCODED)
    for example in _loaded(dataset_dir, split, alone).as_numpy_iterator():
        yield example["image"]


def _loaded(dataset_dir: Path, split: str, decoders: Any) -> Any:
    try:
        builder = tfds.builder_from_directory(dataset_dir)
        if split not in builder.info.splits:
            there = ", ".join(builder.info.splits)
            cure = f"one of {there}, or `{invocation('data', 'split', 'FOLDER', '--fractions', '0.7,0.15,0.15')}`"
            raise ConfigError(Problem("--split", f"this data has no {split} split", expected=cure))
        read = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False, add_tfds_id=False)
        return builder.as_dataset(split=split, decoders=decoders, read_config=read, shuffle_files=False)
    except (OSError, ValueError, KeyError) as error:
        cure = "a dataset built by `data build`"
        raise MachineError(Problem(dataset_dir, f"cannot be read: {error}", expected=cure)) from error


def frames(dataset_dir: Path, split: str) -> Iterator[Frame]:
    """Yields the frames of a built split, in their fixed order."""
    for example in load(dataset_dir, split).as_numpy_iterator():
        yield Frame(
            image=example["image"],
            segmentation_mask=example["segmentation_mask"][..., 0],
            boxes=boxes(example),
            labels=tuple(example["labels"].tolist()),
            file_name=example["file_name"].decode(),
            group_id=example["group_id"].decode(),
            mask_source=MASK_SOURCES[example["mask_source"]],
        )


def boxes(example: Mapping[str, Any]) -> tuple[Box, ...]:
    """Returns the boxes of one example of NumPy arrays."""
    columns = zip(*(example["boxes"][name].tolist() for name in ("bbox", "label", "refined")), strict=True)
    return tuple(Box(x_min, y_min, x_max, y_max, *rest) for (y_min, x_min, y_max, x_max), *rest in columns)


def count(dataset_dir: Path, split: str) -> int:
    """Returns the number of frames in a split."""
    return int(tfds.builder_from_directory(dataset_dir).info.splits[split].num_examples)
