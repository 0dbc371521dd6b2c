"""Boxes cut out of frames with contours, a network that learns from them, and what it may then be asked."""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipe_seg import images
from pipe_seg.annotations import raster
from pipe_seg.annotations.folders import Layout
from pipe_seg.cli import results
from pipe_seg.components import cropper
from pipe_seg.components.refiner import proposals
from pipe_seg.components.refiner.box_predictor import BoxPredictor
from pipe_seg.inference.saved_model import LoadedModel
from pipe_seg.pipeline import datasets
from pipe_seg.pipeline import runs as run_folder
from pipe_seg.schema import FOLDERS, Box, Frame
from tests.conftest import TINY_FLAGS, Command

NOISE = np.random.default_rng(0).integers(0, 255, (20, 40, 3), np.uint8)
BOX = Box(0.25, 0.2, 0.75, 0.6, 3)  # columns 10…29, rows 4…11: 20 × 8 px


def frame(mask: np.ndarray, *boxes: Box, labels: tuple[int, ...] = (3,)) -> Frame:
    return Frame(images.encode(NOISE, ".png"), mask, boxes, labels if mask.any() else (), "a.png", "a", "contour")


def disc(rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros((20, 40), np.uint8)
    mask[rows, columns] = 1
    return mask


def test_a_box_is_cut_out_with_what_is_around_it() -> None:
    mask = disc(slice(3, 9), slice(12, 33))
    (crop,) = cropper.crops(frame(mask, BOX), 0.25)  # 5 columns and 2 rows on each side
    np.testing.assert_array_equal(crop.image, NOISE[2:14, 5:35])
    np.testing.assert_array_equal(crop.mask, mask[2:14, 5:35])
    assert crop.box
    np.testing.assert_allclose(
        [crop.box.x_min, crop.box.y_min, crop.box.x_max, crop.box.y_max], [5 / 30, 2 / 12, 25 / 30, 10 / 12]
    )
    assert crop.box.label == 3


def test_the_frame_ends_a_crop_and_a_box_with_nothing_in_it_makes_none() -> None:
    mask = disc(slice(0, 5), slice(0, 6))
    corner, elsewhere = Box(0.0, 0.0, 0.2, 0.25, 3), Box(0.6, 0.6, 0.9, 0.9, 3)
    (crop,) = cropper.crops(frame(mask, corner, elsewhere), 0.5)
    np.testing.assert_array_equal(crop.image, NOISE[0:7, 0:12])  # half of 5 rows is 2.5: centres up to 7.5
    assert crop.box
    assert (crop.box.x_min, crop.box.y_min) == (0, 0)


def test_without_a_box_of_its_class_the_contour_says_where_it_is() -> None:
    mask = disc(slice(4, 12), slice(10, 30))
    other = Box(0.0, 0.0, 1.0, 1.0, 1)
    for found in (frame(mask), frame(mask, other), frame(mask, other, labels=())):
        (crop,) = cropper.crops(found, 0.0)
        np.testing.assert_array_equal(crop.mask, np.ones((8, 20), np.uint8))
        assert crop.box == (Box(0, 0, 1, 1, 3) if found.labels else None)
    assert not list(cropper.crops(frame(np.zeros((20, 40), np.uint8)), 0.25))
    assert not list(cropper.crops(frame(disc(slice(4, 5), slice(10, 30))), 0.0)), "no image is one pixel high"


def test_of_several_classes_every_box_of_one_that_is_drawn_is_cut_out() -> None:
    mask = disc(slice(4, 12), slice(10, 30))
    boxes = [Box(0.2, 0.2, 0.5, 0.6, 1), Box(0.5, 0.2, 0.8, 0.6, 3), Box(0.2, 0.2, 0.8, 0.6, 5)]
    assert [crop.box.label for crop in cropper.crops(frame(mask, *boxes, labels=(1, 3)), 0.25) if crop.box] == [1, 3]


SHARE = st.floats(0, 1)


@given(SHARE, SHARE, SHARE, SHARE, st.floats(0, 1))
def test_a_crop_holds_its_box(x: float, y: float, width: float, height: float, margin: float) -> None:
    box = Box(x, y, min(x + width, 1), min(y + height, 1), 3)
    for crop in cropper.crops(frame(np.ones((20, 40), np.uint8), box), margin):
        assert crop.box
        assert crop.mask.shape == crop.image.shape[:2]
        inside, found = (raster.inside(b, *m) for b, m in ((box, (20, 40)), (crop.box, crop.mask.shape)))
        sizes = [[axis.stop - axis.start for axis in place] for place in (inside, found)]
        np.testing.assert_allclose(*sizes, atol=1)  # a centre on the very edge may fall to either side
        assert 0 <= crop.box.x_min <= crop.box.x_max <= 1


@pytest.fixture(scope="module")
def crops(folder: Path, cli: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("crops") / "crops"
    told = json.loads(cli("data", "crop", "--manual-dir", folder, "--out", out, "--json").stdout)
    assert set(told["crops"]) == {"train", "validation"}
    return out


@pytest.fixture(scope="module")
def cropped_runs(crops: Path, cli: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("cropped") / "runs"
    cli("train", "--dataset", "ps", "--manual-dir", crops, "--runs", runs, "--name", "Anna", *TINY_FLAGS)
    return runs


def test_crops_keep_split_and_scene(folder: Path, crops: Path, cli: Command) -> None:
    before, after = (Layout(root / FOLDERS["ps"], "contour") for root in (folder, crops))
    for split in ("train", "validation"):
        assert {frame.group_id for frame in after.frames(split)} <= before.groups(split)
    cli("data", "check", crops)
    for verb in (("--replace",), ("--folds", 2, "--out", crops / "folds")):
        assert "whose names do not say which scene they show" in cli("data", "split", crops, *verb, code=2).stderr
    told = cli("data", "crop", "--manual-dir", folder, "--out", crops, code=5).stderr
    assert "exists already" in told
    assert "no contours here" in cli("data", "crop", "--manual-dir", folder / "none", "--out", "x", code=2).stderr


@pytest.fixture
def cut(folder: Path, tmp_path: Path) -> Path:
    """The folder with a scene on two sides, a copy across the split under another name, masks alone, and a licence."""
    root = tmp_path / "cut"
    shutil.copytree(folder / FOLDERS["ps"], root / FOLDERS["ps"])
    ps = root / FOLDERS["ps"]
    shutil.rmtree(ps / "labels")
    for name, there in (("000050_0", "000054_7"), ("000054_0", "000099_0")):  # 000054 is held out
        shutil.copyfile(ps / "masks" / "train" / "000050_0_mask.png", ps / "masks" / "train" / f"{there}_mask.png")
        place = next((ps / "images").glob(f"*/{name}.jpg"))
        shutil.copyfile(place, ps / "images" / "train" / f"{there}.jpg")
    (root / "LICENSE").write_text("mine alone")
    return root


def test_what_ps_leaves_out_is_not_cropped_either(cut: Path, cli: Command, tmp_path: Path) -> None:
    out = tmp_path / "crops"
    cli("data", "crop", "--manual-dir", cut, "--out", out)
    made = sorted(path.stem for path in (out / FOLDERS["ps"] / "images" / "train").iterdir())
    assert made
    assert not [name for name in made if name.startswith(("000054", "000099"))]
    assert not (out / FOLDERS["ps"] / "labels").exists()
    assert (out / "LICENSE").read_text() == "mine alone"
    cli("data", "check", out)


def test_a_crop_that_failed_leaves_nothing(cut: Path, cli: Command, tmp_path: Path) -> None:
    broken = next((cut / FOLDERS["ps"] / "images" / "val").iterdir())
    broken.write_bytes(broken.read_bytes()[:500])
    assert broken.name in cli("data", "crop", "--manual-dir", cut, "--out", tmp_path / "crops", code=3).stderr
    assert not (tmp_path / "crops").exists()


def test_a_score_in_boxes_says_so_and_is_no_blessing(cropped_runs: Path) -> None:
    run = run_folder.find_run("last", cropped_runs)
    assert not run.evaluation.blessed
    assert "boxes cut out of their frames" in run.evaluation.record["details"]["reason"]
    assert "each in a box cut out of its frame" in results.summary(run)
    assert "data refine" in results.next_steps(run, cropped_runs)
    data = datasets.data_of(run).contours
    assert data.key == run.model.record["inputs"]["tuning"]
    assert data.crop_margin == 0.25
    assert "Boxes cut out of" in (data.path / "DATA_CARD.md").read_text("utf-8")


def test_what_learnt_from_crops_is_asked_for_each_box(folder: Path, cropped_runs: Path) -> None:
    model = run_folder.find_model("last", cropped_runs)
    assert model.facts["crop_margin"] == 0.25
    predictor = BoxPredictor([model])
    waiting = next(f for f in Layout(folder / FOLDERS["pbs"], "box").frames("train") if f.read().boxes)
    data, boxes = waiting.image.read_bytes(), waiting.read().boxes
    pixels = images.decode(data)
    found = list(predictor.margins(data, boxes))
    assert len(found) == len(boxes)
    for box, (margins,) in zip(boxes, found, strict=True):
        place = raster.inside(box, *pixels.shape[:2], 0.25)
        crop = images.encode(np.ascontiguousarray(pixels[place]), ".png")
        claimed = LoadedModel(model.saved_model).probability(crop) > model.threshold
        np.testing.assert_array_equal(margins[place] > 0, claimed)
        outside = np.ones(pixels.shape[:2], bool)
        outside[place] = False
        assert (margins[outside] < 0).all()


def test_a_start_from_what_learnt_from_crops_is_told(
    folder: Path, cropped_runs: Path, runs: Path, cli: Command, tmp_path: Path
) -> None:
    drawing = run_folder.find_run("last", cropped_runs)
    flags = ["--dataset", "ps", "--manual-dir", folder, "--runs", tmp_path, *TINY_FLAGS]
    note = "learnt from boxes cut out of their frames, and these are whole frames"
    assert f"note: {drawing.path} {note}" in cli("train", *flags, "--init", drawing.path).stderr
    refused = cli("train", *flags, "--init", sorted(runs.iterdir())[1], "--name", "?", code=2).stderr  # after the note
    assert "--name" in refused
    assert note not in refused


class Knowing:
    """What is asked for the pixels of frames whose contours it knows."""

    def __init__(self, truths: dict[bytes, np.ndarray]) -> None:
        self.truths = truths

    def margins(self, data: bytes, boxes: Sequence[Box]) -> Iterator[list[np.ndarray]]:
        yield from [[np.where(self.truths[data] > 0, 3.0, -3.0)]] * len(boxes)


def test_what_is_found_is_held_against_contours_that_were_held_out(folder: Path) -> None:
    layout = Layout(folder / FOLDERS["ps"], "contour")
    frames = [frame for waiting in layout.frames("validation") if (frame := waiting.read()).boxes]
    predictor = cast("BoxPredictor", Knowing({frame.image: frame.segmentation_mask for frame in frames}))
    found, filled = [], []
    for frame in frames:
        truth = frame.segmentation_mask > 0
        boxes = np.zeros_like(truth)
        for box in frame.boxes:
            boxes[raster.inside(box, *truth.shape)] = box.label in frame.labels
        found.append((truth & boxes).sum() / truth.sum())
        filled.append((truth & boxes).sum() / (truth | boxes).sum())
    everything, nothing = (proposals.Gates(dict.fromkeys(range(6), fill), 0, 0) for fill in ((0, 1), (2, 2)))
    checked = proposals.check(layout, predictor=predictor, gates=everything)
    assert checked["frames"] == len(frames) > 2
    assert checked["iou"] == checked["iou_accepted"] == pytest.approx(np.mean(found))
    assert checked["filled_boxes_iou"] == pytest.approx(np.mean(filled))
    assert proposals.check(layout, predictor=predictor, gates=nothing)["iou_accepted"] is None


def test_boxes_are_refined_by_it_and_nobody_serves_it(
    folder: Path, cropped_runs: Path, cli: Command, tmp_path: Path
) -> None:
    out = tmp_path / "refined"
    command = ("data", "refine", "last", "--runs", cropped_runs, "--manual-dir", folder)
    told = cli(*command, "--out", out).stdout
    assert "validation: what is found in the boxes of" in told
    assert "alidation: what is found in the boxes of" in (out / "refine.html").read_text("utf-8")
    cli("data", "check", out)
    images_of = folder / FOLDERS["ps"] / "images" / "val"
    told = cli("predict", "last", images_of, "--runs", cropped_runs, "--out", tmp_path / "predicted").stderr
    assert "learnt to draw inside boxes" in told
    assert "in-box IoU" in cli("runs", "show", "last", "--runs", cropped_runs).stdout
    everything = json.loads(cli(*command, "--threshold", "0.001", "--out", tmp_path / "all", "--json").stdout)
    assert everything["validation"]["iou"] == pytest.approx(everything["validation"]["filled_boxes_iou"])
    refused = cli("upload", "last", "--runs", cropped_runs, "--to", tmp_path / "store", "--yes", "--unblessed", code=6)
    assert "draws inside boxes" in refused.stderr
    assert not list((tmp_path / "store").glob("pipe_seg/*"))


def test_one_that_draws_and_one_that_finds_judge_the_same_boxes(folder: Path, runs: Path, cropped_runs: Path) -> None:
    drawing, finding = (run_folder.find_model("last", place) for place in (cropped_runs, runs))
    waiting = next(f for f in Layout(folder / FOLDERS["pbs"], "box").frames("train") if f.read().boxes)
    data, boxes = waiting.image.read_bytes(), (*waiting.read().boxes, BOX)
    both = list(BoxPredictor([drawing, finding], 0.5).margins(data, boxes))
    alone = [list(BoxPredictor([model], 0.5).margins(data, boxes)) for model in (drawing, finding)]
    np.testing.assert_array_equal(both, [[*drawn, *found] for drawn, found in zip(*alone, strict=True)])
    np.testing.assert_array_equal(both[0][1], both[1][1])  # a whole frame is one answer for all its boxes
