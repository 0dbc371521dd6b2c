"""Boxes refined by models: the gates, what is written, and what then trains."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipe_seg import config
from pipe_seg.annotations import prelabels, raster
from pipe_seg.annotations.folders import Layout
from pipe_seg.artifacts import Dataset
from pipe_seg.components import example_gen, refiner, statistics_gen
from pipe_seg.components.refiner import proposals
from pipe_seg.components.refiner.proposals import Gates, RefinedFrame
from pipe_seg.config import ExampleGenSection
from pipe_seg.data import examples, targets
from pipe_seg.data.training_data import TrainingData
from pipe_seg.schema import FOLDERS, Annotation, Box
from tests.conftest import Command

SIZE = (20, 40)
BOX = Box(0.25, 0.2, 0.75, 0.8, 3)  # columns 10…29, rows 4…15: 20 × 12 px


def margins(*found: tuple[slice, slice], sure: float = 3.0) -> np.ndarray:
    """Logits of one model that finds some rectangles (rows, columns) and nothing else."""
    logits = np.full(SIZE, -sure)
    for place in found:
        logits[place] = sure
    return logits


def gates(low: float = 0.1, high: float = 0.7) -> Gates:
    return Gates(dict.fromkeys(range(6), (low, high)))


def test_what_is_found_in_a_box_is_measured() -> None:
    first = margins((slice(4, 16), slice(10, 20)), (slice(0, 2), slice(0, 40)))  # 120 px in the box, others outside
    second = margins((slice(4, 16), slice(10, 18)), sure=1.0)  # 96 px; where they differ the surer one decides
    found = proposals.propose(BOX, (first, second), gates())
    assert found.fill == 120 / 240
    assert found.tightness == 120 / 240  # its bounding box is the left half of the box
    assert found.agreement == 96 / 120
    assert found.verdict == "accepted"
    mask = np.zeros(SIZE, np.uint8)
    mask[4:16, 10:20] = 1
    np.testing.assert_array_equal(raster.pixels(found.region), mask)


@pytest.mark.parametrize(
    ("place", "verdict"),
    [
        ((slice(4, 16), slice(10, 30)), "fill"),
        ((slice(4, 5), slice(10, 30)), "fill"),
        ((slice(4, 10), slice(10, 18)), "tightness"),
        ((slice(0, 4), slice(0, 40)), "fill"),
        ((slice(4, 10), slice(10, 30)), "accepted"),
    ],
)
def test_each_gate_refuses_what_it_is_for(place: tuple[slice, slice], verdict: str) -> None:
    assert proposals.propose(BOX, (margins(place),), gates()).verdict == verdict


def test_models_that_differ_are_refused_and_one_model_must_be_stable() -> None:
    left, right = margins((slice(4, 16), slice(10, 22)), sure=4.0), margins((slice(4, 16), slice(18, 30)))
    assert proposals.propose(BOX, (left, right), gates(0.1, 1)).verdict == "agreement"
    wavering = margins((slice(4, 16), slice(10, 22)), sure=0.5)
    assert proposals.propose(BOX, (wavering,), gates()).verdict == "agreement"


def beside(box: Box) -> Box:
    """A box of another class that reaches into the right half of ``box``."""
    middle = (box.x_min + box.x_max) / 2
    return Box(middle, box.y_min, min(middle + box.x_max - box.x_min, 1.0), box.y_max, (box.label + 1) % 6)


@pytest.fixture(scope="module")
def refined(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rendered folder, the box of each frame refined to its left half, and one beside it."""
    return write_halves(folder, tmp_path_factory.mktemp("refined") / "next")


def write_halves(folder: Path, out: Path) -> Path:
    frames = []
    for waiting in Layout(folder / FOLDERS["pbs"], "box").frames("train"):
        frame, drawn = waiting.load(waiting.image.read_bytes())
        height, width = frame.segmentation_mask.shape
        logits = np.full((height, width), -3.0)
        rows, columns = raster.inside(drawn.boxes[0], height, width)
        logits[rows, columns.start : (columns.start + columns.stop) // 2] = 3.0
        first = proposals.propose(drawn.boxes[0], (logits,), Gates(gates(0, 1).fill, 0, 0))
        other = proposals.propose(beside(drawn.boxes[0]), (logits,), gates(2, 2))
        before = Annotation((first.box, other.box))
        frames.append(RefinedFrame(waiting.image, (height, width), before, (first, other)))
    refiner.write_dataset(frames, root=folder, out=out, details={}, page="")
    return out


@pytest.fixture(scope="module")
def built(refined: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    section = ExampleGenSection(data_dir=str(tmp_path_factory.mktemp("tfds")))
    return example_gen.run(section, name="pbs", manual_dir=refined, rendered=False)


def test_the_new_version_holds_the_refined_pixels_and_leaves_the_rest(
    folder: Path, refined: Path, built: Dataset
) -> None:
    before = {frame.image.name: frame.read() for frame in Layout(folder / FOLDERS["pbs"], "box").frames("train")}
    for frame in examples.frames(built.path, "train"):
        assert frame.mask_source == "refined"
        assert [box.refined for box in frame.boxes] == [True, False]
        old = before[frame.file_name]
        np.testing.assert_allclose(
            [(b.x_min, b.y_min, b.x_max, b.y_max) for b in frame.boxes],
            [(b.x_min, b.y_min, b.x_max, b.y_max) for b in (old.boxes[0], beside(old.boxes[0]))],
            atol=1e-6,
        )
        height, width = frame.segmentation_mask.shape
        rows, columns = raster.inside(old.boxes[0], height, width)
        inside = frame.segmentation_mask[rows, columns]
        middle = (columns.start + columns.stop) // 2 - columns.start
        assert inside[:, :middle].all()
        assert not inside[:, middle:].any()  # whatever other boxes reach into it
    assert {frame.mask_source for frame in examples.frames(built.path, "validation")} == {"box"}
    for kind in ("images", "labels", "masks"):
        assert {path.name for path in (refined / FOLDERS["ps"] / kind).rglob("*.*")} == {
            path.name for path in (folder / FOLDERS["ps"] / kind).rglob("*.*")
        }
    assert list((folder / FOLDERS["pbs"] / "labels" / "train").iterdir()), "what was refined from is as it was"


def test_its_card_counts_refined_boxes_and_no_training_is_warned(built: Dataset) -> None:
    assert [built.card["splits"][split]["refined_boxes"] for split in ("train", "validation")] == [8, 0]
    assert "8 boxes of train are refined" in (built.path / "DATA_CARD.md").read_text("utf-8")
    assert not TrainingData("pbs+ps", {"pbs": built}).mixes_bare_boxes


def test_frames_in_folders_of_their_own_are_refined_too(folder: Path, tmp_path: Path) -> None:
    nested = tmp_path / "nested"
    shutil.copytree(folder, nested)
    for kind in ("images", "labels"):
        train = nested / FOLDERS["pbs"] / kind / "train"
        train.rename(train.with_name("first"))
        train.mkdir()
        train.with_name("first").rename(train / "first")
    out = write_halves(nested, tmp_path / "next")
    found = [frame.read() for frame in Layout(out / FOLDERS["pbs"], "box").frames("train")]
    assert {frame.mask_source for frame in found} == {"refined"}
    assert len(found) == 8


def test_a_refined_box_tells_its_pixels_and_the_others_stay_bounds(built: Dataset) -> None:
    section = config.load(
        None, ("supervision.fill_threshold=1.01", "supervision.box_weight=0.25"), unlock=True
    ).supervision
    for example in examples.load(built.path, "train"):
        height, width = example["segmentation_mask"].shape[:2]
        fitted = targets.fit(example, (height, width), section, [0.4] * 6)
        mask, told, _ = np.moveaxis(fitted.target_channels.numpy(), -1, 0)
        boxes = [Box(b[1], b[0], b[3], b[2], 0) for b in example["boxes"]["bbox"].numpy()]
        first = np.zeros((height, width), bool)
        first[raster.inside(boxes[0], height, width)] = True
        assert told[first].all()
        assert mask[first].any()
        assert not mask[first].all()
        assert fitted.boxes.numpy()[:, 4].astype(bool).sum() == len(boxes) - 1
        alone = np.zeros((height, width), bool)
        alone[raster.inside(boxes[1], height, width)] = True
        assert (alone & ~first).any()
        assert not told[alone & ~first].any()
        assert float(fitted.weight) == 0.25


def test_an_import_of_the_new_version_keeps_boxes_and_refined_boxes_apart(
    refined: Path, cli: Command, tmp_path: Path
) -> None:
    source = refined / FOLDERS["pbs"] / "annotations" / "instances_train.json"
    frames = refined / FOLDERS["pbs"] / "images" / "train"
    cli("data", "import", source, "--from", "coco", "--images", frames, "--to", tmp_path / "copy")
    first, second = (
        [frame.read() for frame in Layout(root / FOLDERS["pbs"], "box").frames("train")]
        for root in (refined, tmp_path / "copy")
    )
    assert [frame.mask_source for frame in second] == [frame.mask_source for frame in first]
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.segmentation_mask, other.segmentation_mask)
        assert [box.refined for box in one.boxes] == [box.refined for box in other.boxes]


def test_usual_fill_is_the_range_of_the_contours(folder: Path) -> None:
    layout = {dataset.name: dataset.layout for dataset in statistics_gen.discover(folder)}["ps"]
    seen: dict[int, list[float]] = {}
    for frame in layout.frames("train"):
        found = frame.read().agreement
        if found:
            seen.setdefault(found.label, []).append(found.fill_ppm / 1e6)
    fills = proposals.usual_fill(layout)
    assert seen
    for label in range(6):
        low, high = fills[label]
        assert (low, high) == ((min(seen[label]) / 2, (max(seen[label]) + 1) / 2) if label in seen else (0.02, 0.95))


def test_the_command_writes_a_version_and_a_page(runs: Path, folder: Path, cli: Command, tmp_path: Path) -> None:
    out = tmp_path / "next"
    told = cli("data", "refine", "last", "--runs", runs, "--manual-dir", folder, "--out", out, "--json").stdout
    classes = json.loads(told)["classes"]
    boxes = [frame.read().boxes for frame in Layout(folder / FOLDERS["pbs"], "box").frames("train")]
    assert sum(row["boxes"] for row in classes.values()) == sum(map(len, boxes))
    for row in classes.values():
        assert row["boxes"] == sum(row[reason] for reason in proposals.REASONS)
    record: dict[str, Any] = json.loads((out / "artifact.json").read_text("utf-8"))
    assert record["details"]["classes"] == classes
    assert record["details"]["validation"]["chosen"] == ["epoch", "minimum component size", "threshold"]
    assert "biased upwards if they, or crops of them, chose the epoch, minimum component size, threshold" in (
        (out / "refine.html").read_text("utf-8")
    )
    assert "Refined boxes" in (out / "refine.html").read_text("utf-8")
    cli("data", "check", out)
    told = cli("data", "refine", "last", "--runs", runs, "--manual-dir", folder, "--out", out, code=5).stderr
    assert "exists already" in told
    (tmp_path / "empty").mkdir()
    shutil.copytree(folder / FOLDERS["ps"], tmp_path / "alone" / FOLDERS["ps"])
    for place in ("empty", "alone", "nowhere"):
        refine = ("data", "refine", "last", "--runs", runs, "--manual-dir", tmp_path / place, "--out", tmp_path / "x")
        assert f"{place}: no boxes here; expected --manual-dir" in cli(*refine, code=2).stderr


@pytest.mark.parametrize("tool", ["cvat", "labelme"])
def test_what_a_person_corrects_is_known_from_what_the_model_drew(
    tool: str, runs: Path, folder: Path, cli: Command, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "todo"
    cli("data", "refine", "last", "--runs", runs, "--manual-dir", folder, "--out", out, "--to", tool, "--number", 3)
    with (out / prelabels.NAME).open(encoding="utf-8", newline="") as file:
        listed = list(csv.DictReader(file))
    assert [float(row["agreement"]) for row in listed] == sorted(float(row["agreement"]) for row in listed)
    assert len(listed) == 3
    changed = listed[1]["file_name"]
    _correct(out, tool, changed)
    cli("data", "import", out, "--from", tool, "--to", tmp_path / "back", "--dataset", "pbs")
    assert "2 frames of 3 are as the model drew them" in caplog.text
    written = json.loads(next((tmp_path / "back").rglob("instances_train.json")).read_text("utf-8"))
    assert {image["file_name"]: image["drawn_by"] for image in written["images"]} == {
        row["file_name"]: "person" if row["file_name"] == changed else "model" for row in listed
    }
    shutil.move(out / prelabels.NAME, tmp_path / "elsewhere.csv")
    options = ("--from", tool, "--dataset", "pbs", "--to")
    caplog.clear()
    cli("data", "import", out, *options, tmp_path / "again")
    assert "as the model drew" not in caplog.text
    (tmp_path / "elsewhere.csv").write_text("a,b\n")
    told = cli(
        "data", "import", out, *options, tmp_path / "third", "--prelabels", tmp_path / "elsewhere.csv", code=3
    ).stderr
    assert "elsewhere.csv:1: not a list of pre-labels" in told


def _correct(out: Path, tool: str, name: str) -> None:
    """Move the first point of what was drawn on one frame, as a person would."""
    if tool == "labelme":
        path = (out / name).with_suffix(".json")
        drawn = json.loads(path.read_text("utf-8"))
        drawn["shapes"] = [
            {**drawn["shapes"][0], "shape_type": "rectangle", "points": [[4, 4], [40, 30]]},
        ]
        path.write_text(json.dumps(drawn), "utf-8")
        return
    path = out / "annotations.xml"
    text = path.read_text("utf-8")
    start = text.index(f'name="{name}"')
    end = text.index("</image>", start)
    body = text[text.index(">", start) + 1 : end]
    label = body.split('label="')[1].split('"')[0]
    box = f'<box label="{label}" occluded="0" source="manual" xtl="4" ytl="4" xbr="40" ybr="30" z_order="0"></box>'
    path.write_text(text.replace(body, box), "utf-8")


def test_refined_pixels_win_over_boxes_and_boxes_over_nothing() -> None:
    half = np.zeros(SIZE, np.uint8)
    half[4:16, 10:20] = 1
    other = Box(0.0, 0.0, 0.5, 0.5, 1)  # columns 0…19, rows 0…9
    drawn = Annotation((replace(BOX, refined=True), other), regions=(raster.region(half, 3),))
    wanted = np.zeros(SIZE, np.uint8)
    wanted[0:10, 0:20] = 1
    wanted[4:16, 10:30] = 0
    wanted[4:16, 10:20] = 1
    np.testing.assert_array_equal(raster.rasterise(drawn, *SIZE), wanted)
    assert drawn.labels == (1, 3)
    assert not drawn.is_contour
