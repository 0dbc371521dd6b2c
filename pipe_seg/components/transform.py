"""Examples → batches: decode, letterbox and keep once; shuffle, augment and batch every epoch."""

import math
from typing import Any

import tensorflow as tf

from pipe_seg.artifacts import Dataset
from pipe_seg.config import TransformSection
from pipe_seg.data import augmentation, examples, preprocessing
from pipe_seg.data.batches import TransformedExamples

Batch = tuple[Any, Any]


def run(section: TransformSection, *, dataset: Dataset, split: str, seed: int, batch_size: int) -> TransformedExamples:
    """Give the training batches of one split, epoch after epoch.

    An epoch is a function of (seed, epoch number) alone. Every batch is full: the last one is filled up
    from the front of the same shuffled order. A batch is (image, target): (batch, height, width, 3) uint8
    and (batch, height, width, 2) uint8, the mask and the pixels that count. Of several workers each takes
    every so-manieth example, so that together they make the very batches that one would.
    """
    size = (section.image_height_px, section.image_width_px)
    number = examples.count(dataset.path, split)
    steps = math.ceil(number / batch_size)
    fitted = examples.load(dataset.path, split).map(lambda example: _fit(example, size), tf.data.AUTOTUNE)
    kept = fitted.enumerate()
    kept = kept.cache() if section.cache else kept

    def order(numbered: Any, epoch: Any, first_step: Any) -> Any:
        shuffled = numbered.shuffle(number, seed=seed + 7919 * epoch, reshuffle_each_iteration=False)
        return shuffled.repeat().take(steps * batch_size).skip(first_step * batch_size)

    def prepare(epoch: Any, index: Any, example: tuple[Any, Any, Any]) -> Batch:
        key = augmentation.key(seed, epoch, index)
        image, mask, valid = augmentation.augment(*example, key) if section.augment else example
        return image, tf.concat([mask, valid], -1)

    def batches(epoch: int, step: int, *, part: tuple[int, int] = (0, 1), batch_size: int = batch_size) -> Any:
        def of(now: Any) -> Any:
            ordered = order(kept, now, tf.where(now == epoch, tf.constant(step, tf.int64), 0))
            return ordered.map(lambda index, example: (now, index, example))

        mine, parts = part
        endless = tf.data.Dataset.range(epoch, tf.int64.max).flat_map(of).shard(parts, mine)
        return endless.map(prepare, tf.data.AUTOTUNE).batch(batch_size, drop_remainder=True).prefetch(2)

    def file_names(epoch: int, step: int) -> list[str]:
        named = examples.load(dataset.path, split).map(lambda example: example["file_name"])
        batch = order(named, epoch, step).take(batch_size)
        return [name.decode() for name in batch.as_numpy_iterator()]

    return TransformedExamples(steps, batch_size, batches, file_names)


def _fit(example: dict[str, Any], size: tuple[int, int]) -> tuple[Any, Any, Any]:
    image = preprocessing.decode(example["image"])
    shape = tf.shape(image)
    return (
        preprocessing.letterbox(image, size),
        preprocessing.letterbox_mask(example["segmentation_mask"], size),
        preprocessing.valid_area(shape[0], shape[1], size),
    )
