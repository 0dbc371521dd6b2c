"""TFDS and back: the features every dataset of ours has, and their frames as ``tf.data``."""

import io
import json
import logging
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import tensorflow_datasets as tfds

from pipe_seg import disk, images
from pipe_seg.data import data_card
from pipe_seg.data.data_card import Facts
from pipe_seg.data.dataset_counts import DatasetCounts
from pipe_seg.errors import ConfigError, InputDataError, MachineError, Problem, Tolerance, invocation
from pipe_seg.schema import CLASS_NAMES, MASK_SOURCES, Box, Frame

TALLY = "tally-{}.json"
AHEAD = 64
ENCODED = {"image": tfds.decode.SkipDecoding()}

log = logging.getLogger(__name__)


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
        self.tallies: dict[str, DatasetCounts] = {}
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
        self.tallies = {}
        super()._download_and_prepare(dl_manager, download_config)
        for split in self.totals if self._on_beam else ():
            path = Path(self.data_dir) / TALLY.format(split)
            self.tallies[split] = DatasetCounts.from_json(json.loads(path.read_text("utf-8")))
            path.unlink()
        self._judge()
        name = f"{self.name}/{self.builder_config.name}"
        card = Facts(name, str(self.version), self._folder, self.tallies, self.groups)
        data_card.write(Path(self.data_dir), card)

    def download_and_prepare(self, **options: Any) -> None:
        """Build as TFDS does, one builder at a time; what a dead one left behind is cleared."""
        place = Path(self.data_dir).parent
        with disk.locked(place, lambda: log.warning("another build holds %s: waiting", place)):
            for stale in place.glob(f"incomplete.*_{self.version}"):
                shutil.rmtree(stale, ignore_errors=True)
            super().download_and_prepare(**options)

    def _judge(self) -> None:
        left_out = {name: told for tally in self.tallies.values() for name, told in tally.left_out.items()}
        self.tolerance.judge(left_out, sum(self.totals.values()))
        empty = [split for split, tally in self.tallies.items() if len(tally.left_out) == self.totals[split]]
        if empty:
            told = [problem for problems in left_out.values() for problem in problems]
            raise InputDataError(f"{empty[0]}: not one frame can be used", *told)

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
            return _on_workers(frames, str(Path(self.data_dir) / TALLY.format(split)))
        return self._here(split, frames)

    def _here(self, split: str, frames: Sequence[FrameSource]) -> Iterator[tuple[str, dict[str, Any]]]:
        tally = self.tallies[split] = DatasetCounts()
        for done, (key, example, noted) in enumerate(_ahead(frames), 1):
            tally.add(noted)
            if example:
                yield key, example
            self.progress(split, done, len(frames))
        self._judge()


Made = tuple[str, dict[str, Any], DatasetCounts]


def _made(frame: FrameSource) -> Made:
    """Returns a frame's key, its example (empty if it cannot be used) and its counts."""
    try:
        found = frame.read()
    except InputDataError as error:
        return frame.key, {}, DatasetCounts(left_out={frame.key: [str(problem) for problem in error.problems]})
    return frame.key, to_example(found), DatasetCounts.of(found)


def _ahead(frames: Sequence[FrameSource]) -> Iterator["Made"]:
    """Yields frames in order, made a few ahead of the caller: decoding releases Python's lock."""
    with ThreadPoolExecutor() as pool:
        waiting: deque[Any] = deque()
        for frame in frames:
            waiting.append(pool.submit(_made, frame))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _on_workers(frames: Sequence[FrameSource], tally: str) -> Any:
    """Returns the Beam transform that makes the frames and writes their counts to the file ``tally``."""
    import apache_beam as beam

    def expand(pipeline: Any) -> Any:
        waiting = pipeline | "Frames" >> beam.Create(list(frames)) | "Spread" >> beam.Reshuffle()
        made = waiting | "Make" >> beam.Map(_made)
        noted = made | "Noted" >> beam.Map(_noted) | "Sum" >> beam.CombineGlobally(DatasetCounts.sum)
        _ = noted | "Write" >> beam.Map(_write, tally)
        return made | "Good" >> beam.Filter(_example) | "Pair" >> beam.Map(_pair)

    return beam.ptransform_fn(expand)()


def _noted(made: Made) -> DatasetCounts:
    return made[2]


def _example(made: Made) -> dict[str, Any]:
    return made[1]


def _pair(made: Made) -> tuple[str, dict[str, Any]]:
    return made[0], made[1]


def _write(tally: DatasetCounts, path: str) -> None:
    Path(path).write_text(json.dumps(tally.to_json()), "utf-8")


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
    told = zip(*(example["boxes"][name].tolist() for name in ("bbox", "label", "refined")), strict=True)
    return tuple(Box(x_min, y_min, x_max, y_max, *rest) for (y_min, x_min, y_max, x_max), *rest in told)


def count(dataset_dir: Path, split: str) -> int:
    """Returns the number of frames in a split."""
    return int(tfds.builder_from_directory(dataset_dir).info.splits[split].num_examples)
