"""Rendered frames as folders, to see what boxes are worth where every contour is known.

    python benchmarks/rendered.py DIR
    python cli.py ablation --plan rendered --manual-dir DIR/boxes --out ablation-rendered
    python cli.py ablation --plan rendered-exact --manual-dir DIR/exact --out ablation-exact

``boxes``: 400 frames with boxes and 40 with contours to train on; ``exact``: the same 440, all with contours. Both
have the same 60 frames to validate on and 200 others to score.
"""

import sys
from pathlib import Path

from pipe_seg import images
from pipe_seg.annotations import yolo
from pipe_seg.data import synthetic
from pipe_seg.schema import FOLDERS
from tfds_builders.pbs import pbs_dataset_builder as pbs
from tfds_builders.ps import ps_dataset_builder as ps

TEST_PIPES = range(2000, 2100)


def main() -> None:
    root = Path(sys.argv[1])
    boxes, contours = pbs.RENDERED_PIPES, ps.RENDERED_PIPES
    write(root / "boxes" / FOLDERS["pbs"], {"train": boxes["train"], "val": boxes["validation"]}, exact=False)
    held = {"val": contours["validation"], "test": TEST_PIPES}
    write(root / "boxes" / FOLDERS["ps"], {"train": contours["train"], **held}, exact=True)
    write(root / "exact" / FOLDERS["ps"], {"train": (*boxes["train"], *contours["train"]), **held}, exact=True)


def write(root: Path, splits: dict[str, range | tuple[int, ...]], *, exact: bool) -> None:
    for place, pipes in splits.items():
        for pipe in pipes:
            for shot in range(synthetic.SHOTS_PER_PIPE):
                frame = synthetic.render(ps.RENDERED_SEED, pipe, shot)
                stem = f"{pipe:06d}_{shot}"  # which names the scene
                put(root / "images" / place / f"{stem}.jpg", frame.jpeg)
                size = (frame.mask.shape[0], frame.mask.shape[1])
                text = "".join(f"{yolo.line(box, size)}\n" for box in frame.boxes)
                put(root / "labels" / place / f"{stem}.txt", text.encode())
                if exact:
                    put(root / "masks" / place / f"{stem}_mask.png", images.encode(frame.mask * 255, ".png"))


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


if __name__ == "__main__":
    main()
