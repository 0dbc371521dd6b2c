"""``data`` as a person types it."""

import json
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipe_seg import images
from pipe_seg.annotations import masks
from tests import planted
from tests.bad_inputs.case import jpeg
from tests.conftest import REAL_FRAMES, Command


@pytest.fixture
def user(tmp_path: Path, folder: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(folder, tmp_path / "datasets"))


@pytest.fixture
def leaky(user: Path) -> Path:
    """Relatives under new names: of a PBS training frame in PBS validation, of PS validation in PBS training."""
    boxes, contours = user / "PipeBoxSegmentation", user / "PipeSegmentation"
    rng = np.random.default_rng(3)
    pixels = images.decode((boxes / "images/train/000001_0.jpg").read_bytes())
    (boxes / "images/val/a.jpg").write_bytes(images.encode(planted.sibling(pixels, rng), ".jpg"))
    (boxes / "labels/val/a.txt").write_text("0 .5 .5 .2 .2\n")
    pixels = images.decode((contours / "images/val/000054_0.jpg").read_bytes())
    (boxes / "images/train/b.jpg").write_bytes(images.encode(planted.neighbour(pixels, rng), ".jpg"))
    (boxes / "labels/train/b.txt").write_text("0 .5 .5 .2 .2\n")
    return user


def test_a_clean_folder_is_told_and_passes(user: Path, cli: Command) -> None:
    done = cli("data", "check", user)
    assert "train 8, validation 4" in done.stdout
    assert "12 scenes" in done.stdout
    assert "error" not in done.stderr


def test_check_as_json_says_all_of_it(leaky: Path, cli: Command) -> None:
    done = cli("data", "check", leaky, "--json", code=3)
    found = json.loads(done.stdout)
    assert found["frames"] == 26
    assert found["datasets"]["pbs"]["frames"] == {"train": 9, "validation": 5}
    leaks = [anomaly for anomaly in found["anomalies"] if anomaly["kind"] == "leak"]
    names = {tuple(sorted(Path(frame).name for frame in leak["frames"])) for leak in leaks}
    assert ("000001_0.jpg", "a.jpg") in names
    assert ("000054_0.jpg", "b.jpg") in names
    assert found["crossing"]["look"] == len(leaks)
    assert "expected `python cli.py data split" in done.stderr


def test_the_page_shows_the_pictures(leaky: Path, cli: Command, tmp_path: Path) -> None:
    cli("data", "check", leaky, "--html", tmp_path / "check.html", code=3)
    page = (tmp_path / "check.html").read_text("utf-8")
    assert page.count("data:image/jpeg;base64,") >= 4
    assert "Scenes on both sides of a split" in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_name_is_escaped_on_the_page(user: Path, cli: Command, tmp_path: Path) -> None:
    (user / "PipeBoxSegmentation/images/train/<img src=x>.jpg").write_bytes(b"")
    (user / "PipeBoxSegmentation/labels/train/<img src=x>.txt").write_text("")
    cli("data", "check", user, "--group-by", "name", "--html", tmp_path / "check.html", code=3)
    page = (tmp_path / "check.html").read_text("utf-8")
    assert "<img src=x>" not in page
    assert "&lt;img src=x&gt;" in page


def test_what_cannot_be_used_may_be_left_out_up_to_a_share(user: Path, cli: Command) -> None:
    (user / "PipeBoxSegmentation/images/train/000001_0.jpg").write_bytes(b"")
    check = ("data", "check", user, "--group-by", "name")
    assert "000001_0.jpg: empty file" in cli(*check, code=3).stderr
    cli(*check, "--on-bad", "skip", "--max-bad", "10%")
    cli(*check, "--on-bad", "skip", "--max-bad", "1%", code=3)
    cli(*check, "--on-bad", "skip", "--max-bad", "x", code=2)


def test_split_then_check_then_build(leaky: Path, cli: Command, tmp_path: Path) -> None:
    cli("data", "check", leaky, code=3)
    told = json.loads(cli("data", "split", leaky, "--fractions", "0.6,0.2,0.2", "--seed", "3", "--json").stdout)
    assert set(told["datasets"]["ps"]) == {"train", "validation", "test"}
    assert json.loads(cli("data", "check", leaky, "--json").stdout)["crossing"] == {}
    environment = {"TFDS_DATA_DIR": str(tmp_path / "tfds")}
    groups: dict[tuple[str, str], set[str]] = defaultdict(set)
    for name in ("pbs", "ps"):
        built = json.loads(cli("data", "build", name, "--manual-dir", leaky, "--json", **environment).stdout)
        assert set(built["frames"]) == {"train", "validation", "test"}
        from pipe_seg.data import examples

        for split in built["frames"]:
            groups[name, split] = {frame.group_id for frame in examples.frames(Path(built["path"]), split)}
    held_out = {split: groups["pbs", split] | groups["ps", split] for split in ("validation", "test")}
    assert not groups["pbs", "train"] & (held_out["validation"] | held_out["test"])
    assert not groups["ps", "train"] & (groups["ps", "validation"] | groups["ps", "test"])


def frozen(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / "splits.json").read_text())
    return found


def test_a_split_is_frozen_with_digests_and_repeats(user: Path, cli: Command, tmp_path: Path) -> None:
    cli("data", "split", user, "--seed", "5")
    first = frozen(user / "PipeBoxSegmentation")
    assert len(first["frames"]) == 12
    assert all(len(entry["sha256"]) == 64 for entry in first["frames"].values())
    assert first["made"]["id"] == frozen(user / "PipeSegmentation")["made"]["id"]
    (user / "PipeSegmentation" / "splits.json").unlink()  # as after a kill between the two files
    cli("data", "split", user, "--seed", "5")
    assert frozen(user / "PipeBoxSegmentation") == first
    assert "is frozen already" in cli("data", "split", user, "--seed", "6", code=5).stderr
    cli("data", "split", user, "--seed", "6", "--replace")
    assert frozen(user / "PipeBoxSegmentation") != first


def test_a_frame_changed_or_added_after_the_split_is_named(user: Path, cli: Command, tmp_path: Path) -> None:
    cli("data", "split", user, "--group-by", "name")
    build = ("data", "build", "ps", "--manual-dir", user)
    path = user / "PipeSegmentation/images/train/000050_0.jpg"
    data = path.read_bytes()
    path.write_bytes(jpeg(4, (256, 320)))
    environment = {"TFDS_DATA_DIR": str(tmp_path / "tfds")}
    assert f"{path}: changed since splits.json was made" in cli(*build, code=3, **environment).stderr
    path.write_bytes(data)
    shutil.copy(path, path.with_name("new.jpg"))
    assert "new.jpg: not in splits.json" in cli(*build, code=3, **environment).stderr


def test_splits_made_apart_are_refused(user: Path, cli: Command, tmp_path: Path) -> None:
    for name in ("PipeBoxSegmentation", "PipeSegmentation"):
        cli("data", "split", user / name, "--group-by", "name")
    told = cli("data", "build", "pbs", "--manual-dir", user, code=3, TFDS_DATA_DIR=str(tmp_path / "tfds")).stderr
    assert "made separately from" in told
    (user / "PipeSegmentation" / "splits.json").unlink()
    told = cli("data", "build", "pbs", "--manual-dir", user, code=3, TFDS_DATA_DIR=str(tmp_path / "tfds")).stderr
    assert "made separately from" in told


def test_the_folder_s_own_split_is_kept_and_its_leaks_counted(leaky: Path, cli: Command, tmp_path: Path) -> None:
    done = cli("data", "split", leaky, "--legacy-split")
    # a with two shots of its pipe, b with two of its own: four pairs.
    assert "leaky      4 pairs" in done.stdout
    entries = frozen(leaky / "PipeBoxSegmentation")["frames"]
    assert entries["images/val/a.jpg"]["split"] == "validation"
    assert entries["images/train/000001_0.jpg"]["split"] == "train"
    assert entries["images/val/a.jpg"]["group"] == entries["images/train/000001_0.jpg"]["group"]
    environment = {"TFDS_DATA_DIR": str(tmp_path / "tfds")}
    built = json.loads(cli("data", "build", "pbs", "--manual-dir", leaky, "--json", **environment).stdout)
    # 9 frames of training less the neighbour of PS validation, which never trains.
    assert built["frames"] == {"train": 8, "validation": 5}


@pytest.mark.parametrize("fractions", ["0.5,0.6", "1", "a,b", "0.5,0.5,0,0", "-1,2", "0,1"])
def test_fractions_that_are_no_whole_are_refused(user: Path, cli: Command, fractions: str) -> None:
    assert "--fractions" in cli("data", "split", user, "--fractions", fractions, code=2).stderr
    assert not (user / "PipeSegmentation" / "splits.json").exists()


def test_a_split_that_would_be_empty_is_refused(tmp_path: Path, cli: Command) -> None:
    for number in range(3):
        (tmp_path / f"000001_{number}.jpg").write_bytes(jpeg(number))
    told = cli("data", "split", tmp_path, "--group-by", "name", code=2).stderr
    assert "would hold no frame" in told


def test_groups_by_video_and_by_pattern(tmp_path: Path, cli: Command) -> None:
    for video in "ab":
        for number in range(3):
            (tmp_path / f"cam{video}_{number:05d}.jpg").write_bytes(jpeg(10 * ord(video) + number))
    found = json.loads(cli("data", "check", tmp_path, "--group-by", "video", "--json").stdout)
    assert (found["scenes"], found["largest_scene"]) == (2, 3)
    found = json.loads(cli("data", "check", tmp_path, "--group-by", "regex", "--pattern", r"_(\d+)", "--json").stdout)
    assert (found["scenes"], found["largest_scene"]) == (3, 2)
    cli("data", "check", tmp_path, "--group-by", "regex", code=2)
    cli("data", "check", tmp_path, "--group-by", "regex", "--pattern", "(", code=2)


@pytest.mark.parametrize("form", ["coco", "labelme", "cvat", "yolo"])
def test_labels_go_to_a_tool_and_come_back(user: Path, cli: Command, tmp_path: Path, form: str) -> None:
    source = user / "PipeSegmentation"
    told = cli("data", "export", source, "--as", form, "--to", tmp_path / form).stderr
    cli("data", "import", tmp_path / form, "--from", form, "--to", tmp_path / "back", "--dataset", "ps")
    back = tmp_path / "back" / "PipeSegmentation"
    for path in sorted((source / "masks").rglob("*.png")):
        returned = masks.read(back / "masks" / path.parent.name / path.name)
        if form != "yolo":
            np.testing.assert_array_equal(returned, masks.read(path))
        elif path.stem.removesuffix("_mask") not in told:
            assert (returned != masks.read(path)).sum() <= 2
    cli("data", "export", source, "--as", form, "--to", tmp_path / form, code=5)


def test_boxes_and_contours_of_one_source_go_where_they_belong(tmp_path: Path, cli: Command) -> None:
    source = tmp_path / "source"
    for split in ("train", "valid", "test"):
        (source / split / "images").mkdir(parents=True)
        (source / split / "labels").mkdir()
        for number, line in enumerate(("0 .5 .5 .2 .2", "1 .1 .1 .6 .1 .6 .6", "")):
            (source / split / "images" / f"{split}{number}.jpg").write_bytes(jpeg(10 * ord(split[1]) + number))
            (source / split / "labels" / f"{split}{number}.txt").write_text(line)
    (source / "data.yaml").write_text("names: [Crack, Rupture]\n")
    flags = ("--from", "roboflow", "--to", tmp_path / "datasets", "--class-map", "Crack=rupture", "--json")
    found = json.loads(cli("data", "import", source, *flags).stdout)
    assert found["written"] == {
        str(tmp_path / "datasets" / "PipeBoxSegmentation"): {"test": 1, "train": 1, "val": 1},
        str(tmp_path / "datasets" / "PipeSegmentation"): {"test": 2, "train": 2, "val": 2},
    }
    record = json.loads((tmp_path / "datasets/PipeSegmentation/artifact.json").read_text())["details"]
    assert record["format"] == "roboflow"
    assert record["source"] == str(source)
    assert record["classes_renamed"] == {"Crack": "rupture"}
    objects = json.loads((tmp_path / "datasets/PipeSegmentation/annotations/instances_train.json").read_text())
    assert {image["mask_source"] for image in objects["images"]} == {"contour"}
    cli("data", "check", tmp_path / "datasets", "--group-by", "name")
    assert "exists already" in cli("data", "import", source, *flags, code=5).stderr


def test_an_import_that_is_built_keeps_its_provenance_and_licence(user: Path, cli: Command, tmp_path: Path) -> None:
    flat = tmp_path / "source"
    shutil.copytree(user / "PipeSegmentation", flat)
    shutil.rmtree(flat / "labels")
    cli("data", "import", flat, "--from", "masks", "--to", tmp_path / "imported")
    (tmp_path / "imported" / "LICENSE.txt").write_text("Only for the survey of 2026.")
    built = cli(
        "data", "build", "ps", "--manual-dir", tmp_path / "imported", "--json", TFDS_DATA_DIR=str(tmp_path / "t")
    )
    card = (Path(json.loads(built.stdout)["path"]) / "DATA_CARD.md").read_text("utf-8")
    assert f"Imported from masks: {flat}" in card
    assert "Only for the survey of 2026." in card
    assert "| train | 8 | 4 | 2 |" in card


def test_the_command_line_offers_every_format_there_is() -> None:
    from pipe_seg.annotations import formats
    from pipe_seg.cli.data import transfer

    assert set(transfer.FORMATS) == set(formats.READERS)


def test_a_preview_shows_frames_of_each_class(user: Path, cli: Command, tmp_path: Path) -> None:
    done = cli("data", "preview", user, "--per-class", "2", "--out", tmp_path / "sheet.png")
    assert "sheet.png" in done.stdout
    sheet = images.decode((tmp_path / "sheet.png").read_bytes())
    assert sheet.shape[1] == 3 * 2 * 224
    green = (np.abs(sheet.astype(int) - [80, 220, 80]) < 8).all(-1)
    assert green.sum() > 200
    cli("data", "preview", tmp_path / "gone", code=2)


def test_png_frames_train_as_they_are(user: Path, cli: Command, tmp_path: Path) -> None:
    for path in sorted((user / "PipeSegmentation/images/train").iterdir()):
        path.with_suffix(".png").write_bytes(images.encode(images.decode(path.read_bytes()), ".png"))
        path.unlink()
    built = json.loads(
        cli("data", "build", "ps", "--manual-dir", user, "--json", TFDS_DATA_DIR=str(tmp_path / "t")).stdout
    )
    from pipe_seg.artifacts import Dataset
    from pipe_seg.components import transform
    from pipe_seg.config import Config, TransformSection
    from pipe_seg.data.training_data import TrainingData

    data = TrainingData("ps", {"ps": Dataset(Path(built["path"]))})
    chosen = Config(transform=TransformSection(image_height_px=64, image_width_px=80))
    batches = transform.run(chosen, data=data, split="train", batch_size=4)
    assert next(iter(batches.batches(1, 0)))[0].shape[0] == 4


@pytest.mark.skipif(not (REAL_FRAMES / "PipeSegmentation").is_dir(), reason="real frames are not here")
def test_the_real_polygons_are_imported_as_far_as_the_masks_agree(cli: Command, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(REAL_FRAMES / "PipeSegmentation" / "images", source / "images")
    for path in (REAL_FRAMES / "PipeSegmentation" / "annotations").glob("*.csv"):
        shutil.copy(path, source)
    cli("data", "import", source, "--from", "via", "--to", tmp_path / "out")
    overlap = []
    for path in sorted((REAL_FRAMES / "PipeSegmentation" / "masks").rglob("*.png")):
        truth = masks.read(path)
        ours = masks.read(tmp_path / "out" / "PipeSegmentation" / "masks" / path.parent.name / path.name)
        overlap.append((truth & ours).sum() / (truth | ours).sum())
    assert len(overlap) == 59
    # The PNGs were drawn finer than these polygons of whole pixels: no rule of filling brings them closer.
    assert np.mean(overlap) > 0.96
    assert min(overlap) > 0.85


def labelled(folder: Path, name: str, shapes: list[dict[str, Any]]) -> None:
    """A frame and its LabelMe file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.jpg").write_bytes(jpeg(ord(name[0])))
    (folder / f"{name}.json").write_text(json.dumps({"imagePath": f"{name}.jpg", "shapes": shapes}))


TRIANGLE = {"label": "rupture", "points": [[5, 5], [40, 5], [20, 30]], "shape_type": "polygon"}
SQUARE = {"label": "obstacle", "points": [[5, 5], [20, 20]], "shape_type": "rectangle"}
LINE = {"label": "rupture", "points": [[5, 5], [40, 5]], "shape_type": "linestrip"}


def test_a_mask_is_kept_whatever_the_data_set(tmp_path: Path, cli: Command) -> None:
    mask = np.zeros((48, 64), np.uint8)
    mask[10:30, 20:50] = 255
    (tmp_path / "s" / "masks").mkdir(parents=True)
    (tmp_path / "s" / "a.jpg").write_bytes(jpeg(1))
    (tmp_path / "s" / "masks" / "a_mask.png").write_bytes(images.encode(mask, ".png"))
    cli("data", "import", tmp_path / "s", "--from", "masks", "--dataset", "pbs", "--to", tmp_path / "o")
    kept = masks.read(tmp_path / "o" / "PipeBoxSegmentation" / "masks" / "train" / "a_mask.png")
    np.testing.assert_array_equal(kept * 255, mask)
    figures = json.loads(cli("data", "check", tmp_path / "o", "--json").stdout)["datasets"]["pbs"]
    assert figures["without_defect"] == 0


def test_a_frame_with_one_bad_object_is_left_out_whole(tmp_path: Path, cli: Command) -> None:
    labelled(tmp_path / "s", "a", [TRIANGLE])
    labelled(tmp_path / "s", "b", [TRIANGLE, LINE])
    labelled(tmp_path / "s", "c", [LINE])
    flags = ("data", "import", tmp_path / "s", "--from", "labelme", "--unlabelled", "background", "--on-bad", "skip")
    cli(*flags, "--max-bad", "1", "--to", tmp_path / "o", code=3)
    found = json.loads(cli(*flags, "--max-bad", "2", "--to", tmp_path / "o", "--json").stdout)
    assert found["written"] == {str(tmp_path / "o" / "PipeSegmentation"): {"train": 1}}
    assert len(found["left_out"]) == 2


def test_a_bad_object_in_a_file_for_many_frames_spoils_its_frame_only(tmp_path: Path, cli: Command) -> None:
    source = tmp_path / "s"
    source.mkdir()
    for name in "abc":
        (source / f"{name}.jpg").write_bytes(jpeg(ord(name)))
    objects = [
        {"id": 1, "image_id": 0, "category_id": 1, "bbox": [5, 5, 9, 9]},
        {"id": 2, "image_id": 1, "category_id": 1, "segmentation": [[1, 2, 3, 4]]},
    ]
    listed = [{"id": i, "file_name": f"{name}.jpg", "width": 64, "height": 48} for i, name in enumerate("ab")]
    content = {"images": listed, "annotations": objects, "categories": [{"id": 1, "name": "rupture"}]}
    (source / "x.json").write_text(json.dumps(content))
    flags = ("data", "import", source, "--from", "coco", "--on-bad", "skip", "--json")
    cli(*flags, "--max-bad", "1", "--to", tmp_path / "o", code=3)
    left_out = json.loads(cli(*flags, "--max-bad", "2", "--to", tmp_path / "o").stdout)["left_out"]
    assert any("#/annotations/1" in line for line in left_out)
    assert any("c.jpg: frame without a label" in line for line in left_out)
    found = json.loads(cli(*flags, "--max-bad", "1", "--unlabelled", "background", "--to", tmp_path / "p").stdout)
    assert found["written"] == {str(tmp_path / "p" / "PipeBoxSegmentation"): {"train": 2}}


@pytest.mark.parametrize("folder", ["val", "valid", "val2017", "val_images", "Validation", "obj_Validation_data"])
def test_a_source_s_own_split_is_kept(tmp_path: Path, cli: Command, folder: str) -> None:
    labelled(tmp_path / "test" / "s" / "train", "a", [TRIANGLE])
    labelled(tmp_path / "test" / "s" / folder, "b", [TRIANGLE])
    found = cli("data", "import", tmp_path / "test" / "s", "--from", "labelme", "--to", tmp_path / "o", "--json")
    assert json.loads(found.stdout)["written"] == {str(tmp_path / "o" / "PipeSegmentation"): {"train": 1, "val": 1}}


def test_a_box_beside_contours_is_told_for_it_trains_as_background(
    tmp_path: Path, cli: Command, caplog: pytest.LogCaptureFixture
) -> None:
    labelled(tmp_path / "s", "a", [TRIANGLE, SQUARE])
    cli("data", "import", tmp_path / "s", "--from", "labelme", "--to", tmp_path / "o")
    assert "a.jpg: box of obstacle without a contour: trained as background" in caplog.text
    assert "box of obstacle without a contour" in cli("data", "check", tmp_path / "o").stderr


def test_a_scene_of_validation_is_left_out_of_the_test(user: Path, cli: Command, tmp_path: Path) -> None:
    root = user / "PipeSegmentation"
    for kind, suffix in (("images", ".jpg"), ("masks", "_mask.png")):
        (root / kind / "test").mkdir()
        shutil.copy(root / kind / "val" / f"000054_0{suffix}", root / kind / "test" / f"copy{suffix}")
        shutil.copy(root / kind / "val" / f"000055_0{suffix}", root / kind / "test" / f"000055_7{suffix}")
    for suffix, data in ((".jpg", jpeg(5)), ("_mask.png", images.encode(np.zeros((48, 64), np.uint8), ".png"))):
        kind = "images" if suffix == ".jpg" else "masks"
        (root / kind / "test" / f"own{suffix}").write_bytes(data)
    built = cli("data", "build", "ps", "--manual-dir", user, "--json", TFDS_DATA_DIR=str(tmp_path / "t"))
    assert json.loads(built.stdout)["frames"] == {"train": 8, "validation": 4, "test": 1}


def test_frames_in_no_split_are_named(user: Path, cli: Command, tmp_path: Path) -> None:
    root = user / "PipeSegmentation"
    shutil.copytree(root / "images" / "val", root / "images" / "holdout")
    build = ("data", "build", "ps", "--manual-dir", user)
    assert "holdout/000054_0.jpg: in no split" in cli(*build, code=3, TFDS_DATA_DIR=str(tmp_path / "t")).stderr
    assert "in no split" in cli("data", "check", user, code=3).stderr


def test_a_frozen_frame_that_is_gone_is_named(user: Path, cli: Command, tmp_path: Path) -> None:
    cli("data", "split", user, "--group-by", "name")
    (user / "PipeSegmentation" / "images" / "train" / "000050_0.jpg").unlink()
    build = ("data", "build", "ps", "--manual-dir", user)
    told = cli(*build, code=3, TFDS_DATA_DIR=str(tmp_path / "t")).stderr
    assert "000050_0.jpg: listed in splits.json but missing" in told


def test_an_unknown_runner_is_a_wrong_option(user: Path, cli: Command, tmp_path: Path) -> None:
    build = ("data", "build", "ps", "--manual-dir", user, "--runner", "NoSuchRunner")
    assert "not Beam's options" in cli(*build, code=2, TFDS_DATA_DIR=str(tmp_path / "t")).stderr


def test_roboflow_s_own_files_are_no_labels(tmp_path: Path, cli: Command) -> None:
    source = tmp_path / "s"
    for split in ("train", "valid"):
        (source / split / "images").mkdir(parents=True)
        (source / split / "labels").mkdir()
        name = f"{split}_jpg.rf.0a1b2c"
        (source / split / "images" / f"{name}.jpg").write_bytes(jpeg(ord(split[0])))
        (source / split / "labels" / f"{name}.txt").write_text("0 .5 .5 .2 .2\n")
    for name in ("README.roboflow.txt", "README.dataset.txt"):
        (source / name).write_text("made elsewhere\n")
    (source / "data.yaml").write_text("names: [rupture]\nnc: 1\nroboflow: {license: x}\n")
    found = json.loads(cli("data", "import", source, "--from", "roboflow", "--to", tmp_path / "o", "--json").stdout)
    assert found["written"] == {str(tmp_path / "o" / "PipeBoxSegmentation"): {"train": 1, "val": 1}}


def test_labels_kept_apart_from_their_shape_are_joined(tmp_path: Path, cli: Command) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "a.jpg").write_bytes(jpeg(1))
    box = {"x": 10, "y": 10, "width": 20, "height": 20, "rotation": 0}
    results = [
        {"id": "r1", "type": "rectangle", "value": box},
        {"id": "r1", "type": "labels", "value": {**box, "labels": ["rupture"]}},
        {"type": "relation", "from_id": "r1", "to_id": "r1", "direction": "right"},
    ]
    (tmp_path / "s" / "x.json").write_text(
        json.dumps([{"data": {"image": "a.jpg"}, "annotations": [{"result": results}]}])
    )
    cli("data", "import", tmp_path / "s", "--from", "labelstudio", "--to", tmp_path / "o")
    assert (tmp_path / "o/PipeBoxSegmentation/labels/train/a.txt").read_text().startswith("2 0.2 0.2 0.2 0.2")
