"""Examples → batches: decode, letterbox and keep once; order, mix, augment and batch every epoch."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import tensorflow as tf

from pipe_seg.config import Config
from pipe_seg.data import augmentation, examples, targets
from pipe_seg.data.batches import TransformedExamples
from pipe_seg.data.training_data import TrainingData
from pipe_seg.schema import JOINT

Batch = tuple[Any, dict[str, Any]]


def run(config: Config, *, data: TrainingData, split: str, batch_size: int) -> TransformedExamples:
    """Returns the training batches of one split, epoch after epoch.

    An epoch is a function of (seed, epoch number) alone. Every batch is full: the last one is filled up from the
    front of the same order. For ``pbs+ps`` an epoch goes once through PBS, and ``ps_share`` of every batch are
    frames of PS, of each class equally often. Of several workers each takes every so-manieth example, so that
    together they make the very batches that one would.

    Args:
        config: the whole configuration.
        data: what is learnt from; the data card of its contours holds the share of a box that is defect.
        split: which of its splits.
        batch_size: images a batch.

    Returns:
        Batches of (image, target): (batch, height, width, 3) uint8 RGB, and what ``nn.supervision`` takes: ``mask``
        (batch, height, width, 2) uint8, defect and labelled, ``boxes`` and ``weight``.
    """
    seed = config.seed
    mixture = _mixture(config, data, split, batch_size)
    steps = math.ceil(mixture[0].number / mixture[0].per_batch)
    turns = tf.constant([index for index, source in enumerate(mixture) for _ in range(source.per_batch)], tf.int64)

    def order(epoch: Any, *, fitted: bool) -> Any:
        ordered = [source.order(seed, epoch, steps, fitted=fitted) for source in mixture]
        if len(ordered) == 1:
            return ordered[0].enumerate()
        choice = tf.data.Dataset.from_tensor_slices(turns).repeat(steps)
        return tf.data.Dataset.choose_from_datasets(ordered, choice).enumerate()

    def batches(epoch: int, step: int, *, part: tuple[int, int] = (0, 1), batch_size: int = batch_size) -> Any:
        def of(now: Any) -> Any:
            skipped = tf.where(now == epoch, tf.constant(step * whole, tf.int64), 0)
            return order(now, fitted=True).skip(skipped).map(lambda index, fitted: (now, index, fitted))

        mine, parts = part
        endless = tf.data.Dataset.range(epoch, tf.int64.max).flat_map(of).shard(parts, mine)
        prepared = endless.map(partial(_prepared, config), tf.data.AUTOTUNE)
        return prepared.batch(batch_size, drop_remainder=True).prefetch(2)

    def file_names(epoch: int, step: int) -> list[str]:
        batch = order(tf.constant(epoch, tf.int64), fitted=False).skip(step * whole).take(whole)
        return [name.decode() for _, name in batch.as_numpy_iterator()]

    whole = batch_size
    return TransformedExamples(steps, batch_size, batches, file_names)


@dataclass(frozen=True)
class _Source:
    """One dataset's part of every batch.

    Attributes:
        examples: Class and example, fitted and cached, or as stored where nothing is cached.
        fit: Fits an example as stored; None where they are fitted.
        names: Class and file name.
        number: How many examples there are.
        per_batch: How many of a batch are of this dataset.
        classes: Classes that are drawn equally often; empty for examples in their own proportions.
    """

    examples: Any
    fit: Any
    names: Any
    number: int
    per_batch: int
    classes: tuple[int, ...] = ()

    def order(self, seed: int, epoch: Any, steps: int, *, fitted: bool) -> Any:
        """Returns as many examples, or file names, as ``steps`` batches take in one epoch."""
        labelled = self.examples if fitted else self.names
        shuffle_seed = seed + 7919 * epoch
        if not self.classes:
            drawn = _shuffled(labelled, self.number, shuffle_seed)
        else:
            apart = [labelled.filter(lambda label, _, wanted=wanted: label == wanted) for wanted in self.classes]
            drawn = tf.data.Dataset.choose_from_datasets(
                [_shuffled(part, self.number, shuffle_seed) for part in apart],
                _shuffled(tf.data.Dataset.range(len(apart)), len(apart), shuffle_seed),
            )
        taken = drawn.take(steps * self.per_batch).map(lambda _, value: value)
        return taken.map(self.fit, tf.data.AUTOTUNE) if fitted and self.fit else taken


def _prepared(config: Config, epoch: Any, index: Any, fitted: tuple[Any, Any, Any, Any]) -> Batch:
    """Returns one example as the network learns from it in one epoch."""
    section, key = config.transform, augmentation.key(config.seed, epoch, index)
    image, target_channels, boxes, weight = fitted
    if section.augment:
        image, target_channels, boxes = augmentation.geometric(image, target_channels, boxes, key)
        image = augmentation.photometric(image, target_channels, key)
    return image, {"mask": target_channels[..., :2], "boxes": boxes, "weight": weight}


def _shuffled(values: Any, number: int, seed: Any) -> Any:
    return values.shuffle(number, seed=seed, reshuffle_each_iteration=False).repeat()


def _mixture(config: Config, data: TrainingData, split: str, batch_size: int) -> list[_Source]:
    if data.name != JOINT:
        return [_source(config, data, data.name, split, batch_size)]
    drawn = min(max(round(config.joint.ps_share * batch_size), 1), batch_size - 1)
    return [
        _source(config, data, "pbs", split, batch_size - drawn),
        _source(config, data, "ps", split, drawn, balanced=True),
    ]


def _source(
    config: Config, data: TrainingData, name: str, split: str, per_batch: int, *, balanced: bool = False
) -> _Source:
    section, path = config.transform, data.datasets[name].path
    size = (section.image_height_px, section.image_width_px)
    fills = targets.fill_rates(config.supervision, data.contours.card, split)

    def fit(stored: dict[str, Any]) -> tuple[Any, Any, Any, Any]:
        return targets.fit(examples.decode_mask(stored), size, config.supervision, fills).tensors()

    stored = examples.load_encoded(path, split)
    names = stored.map(lambda example: (_label(example), example["file_name"]))
    classes = sorted({int(label) for label, _ in names.as_numpy_iterator()}) if balanced else []
    labelled = stored.map(lambda example: (_label(example), example))
    if section.cache:
        labelled = labelled.map(lambda label, example: (label, fit(example)), tf.data.AUTOTUNE).cache()
    after = None if section.cache else fit
    return _Source(labelled, after, names, examples.count(path, split), per_batch, tuple(classes))


def _label(example: dict[str, Any]) -> Any:
    """Returns the first class of a frame, -1 for none."""
    return tf.concat([example["labels"], [-1]], 0)[0]
