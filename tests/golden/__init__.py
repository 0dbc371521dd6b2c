"""Masks and scores worked out by hand; the arithmetic stands beside the number."""

import math

import numpy as np


def rectangle(
    size: int, *corners: tuple[int, int, int, int], holes: tuple[tuple[int, int, int, int], ...] = ()
) -> np.ndarray:
    """Give a size x size mask with [r0:r1, c0:c1] set, then the holes cut out."""
    mask = np.zeros((size, size), np.uint8)
    for r0, r1, c0, c1 in corners:
        mask[r0:r1, c0:c1] = 1
    for r0, r1, c0, c1 in holes:
        mask[r0:r1, c0:c1] = 0
    return mask


# name: (truth, claim)
PAIRS = {
    "A": (rectangle(9, (1, 3, 1, 3)), rectangle(9, (1, 3, 2, 4))),
    "B": (rectangle(9, (1, 5, 1, 5)), rectangle(9, (1, 5, 1, 5))),
    "C": (rectangle(9, (2, 7, 2, 7), holes=((3, 6, 3, 6),)), rectangle(9, (2, 7, 2, 7))),
    "D both empty": (rectangle(9), rectangle(9)),
    "E a claim on a clean frame": (rectangle(9), rectangle(9, (4, 5, 4, 5))),
    "F a missed defect": (rectangle(9, (1, 3, 1, 3)), rectangle(9)),
    "G": (rectangle(13, (2, 11, 2, 11), holes=((4, 9, 4, 9),)), rectangle(13, (2, 11, 2, 11))),
}

# name: (tp, fp, fn, IoU = tp/(tp+fp+fn), Dice = 2tp/(2tp+fp+fn))
SCORES = {
    "A": (2, 2, 2, 2 / 6, 4 / 8),
    "B": (16, 0, 0, 1.0, 1.0),
    "C": (16, 9, 0, 16 / 25, 32 / 41),
    "D both empty": (0, 0, 0, math.nan, math.nan),
    "E a claim on a clean frame": (0, 1, 0, 0.0, 0.0),
    "F a missed defect": (0, 0, 4, 0.0, 0.0),
    "G": (56, 25, 0, 56 / 81, 112 / 137),
}

# of A, B and C together
POOLED_IOU = 34 / 47  # (2+16+16) / (6+16+25)
POOLED_DICE = 68 / 81  # 2·34 / (2·34 + 11 + 2)
MEAN_IOU = 0.657778  # (1/3 + 1 + 16/25) / 3
MEAN_DICE = 0.760163  # (1/2 + 1 + 32/41) / 3; not 2x/(1+x) of the mean IoU, which is 0.793566
MEAN_IOU_WITH_D = {"skip": 0.657778, "one": 0.743333, "zero": 0.493333}
