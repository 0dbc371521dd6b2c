"""Examples → batches: decode, letterbox and keep once; shuffle, augment and batch every epoch."""

import math
from typing import Any

import tensorflow as tf

from pipe_seg.artifacts import Dataset, TransformedExamples
from pipe_seg.config import TransformSection
from pipe_seg.data import augmentation, examples, preprocessing

Batch = tuple[Any, Any]


def run(section: TransformSection, *, dataset: Dataset, split: str, seed: int, batch_size: int) -> TransformedExamples:
    """Give the training batches of one split, an epoch at a time.

    An epoch is a function of (seed, epoch number) alone. Every batch is full: the last one is filled up
    from the front of the same shuffled order. A batch is (image, target): (batch, height, width, 3) uint8
    and (batch, height, width, 2) uint8, the mask and the pixels that count.
    """
    size = (section.image_height_px, section.image_width_px)
    number = examples.count(dataset.path, split)
    steps = math.ceil(number / batch_size)
    fitted = examples.load(dataset.path, split).map(lambda example: _fit(example, size), tf.data.AUTOTUNE)
    kept = fitted.enumerate()
    kept = kept.cache() if section.cache else kept

    def epoch(epoch_number: int) -> Any:
        def prepare(index: Any, example: tuple[Any, Any, Any]) -> Batch:
            key = augmentation.key(seed, epoch_number, index)
            image, mask, valid = augmentation.augment(*example, key) if section.augment else example
            return image, tf.concat([mask, valid], -1)

        shuffled = kept.shuffle(number, seed=seed + 7919 * epoch_number, reshuffle_each_iteration=False)
        full = shuffled.repeat().take(steps * batch_size)
        return full.map(prepare, tf.data.AUTOTUNE).batch(batch_size, drop_remainder=True).prefetch(2)

    return TransformedExamples(steps, batch_size, epoch)


def _fit(example: dict[str, Any], size: tuple[int, int]) -> tuple[Any, Any, Any]:
    image = preprocessing.decode(example["image"])
    shape = tf.shape(image)
    return (
        preprocessing.letterbox(image, size),
        preprocessing.letterbox_mask(example["segmentation_mask"], size),
        preprocessing.valid_area(shape[0], shape[1], size),
    )
