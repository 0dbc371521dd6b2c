"""Datasets stand under their keys: what a run used is found again, or made again from the same bytes, or refused."""

import json
import os
import shutil
import threading
from pathlib import Path

import pytest

from pipe_seg import config
from pipe_seg.artifact_store import ArtifactStore
from pipe_seg.artifacts import Dataset
from pipe_seg.components import example_gen
from pipe_seg.config import Config
from pipe_seg.errors import ConflictError, PipeSegError
from pipe_seg.pipeline import datasets
from pipe_seg.pipeline.runs import Run
from tests.conftest import TINY_FLAGS, Command

PS = "PipeSegmentation"


def settings(data_dir: Path) -> Config:
    return config.load(None, (f"example_gen.data_dir={data_dir}",))


def built(folder: Path, data_dir: Path, name: str = "ps") -> Dataset:
    return datasets.examples(settings(data_dir), name, folder, lambda text: None)


@pytest.fixture
def frames(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "frames"))


def test_the_same_bytes_in_another_folder_or_through_a_link_are_the_same_data(frames: Path, tmp_path: Path) -> None:
    first = built(frames, tmp_path / "tfds")
    copy = Path(shutil.copytree(frames, tmp_path / "elsewhere"))
    (tmp_path / "link").symlink_to(copy)
    for other in (copy, tmp_path / "link"):
        assert built(other, tmp_path / "tfds").path == first.path


@pytest.mark.parametrize("part", ["images", "labels", "masks", "LICENSE"])
def test_another_byte_is_another_dataset_and_leaves_the_first_as_it_was(
    frames: Path, tmp_path: Path, part: str
) -> None:
    first = built(frames, tmp_path / "tfds")
    before = {path: path.read_bytes() for path in first.path.rglob("*") if path.is_file()}
    if part == "LICENSE":
        (frames / part).write_text("mine")
    else:
        path = next(path for path in sorted((frames / PS / part / "train").iterdir()))
        path.write_bytes(path.read_bytes() + (b"\n" if part == "labels" else b"\0"))
    second = built(frames, tmp_path / "tfds")
    assert second.path != first.path
    assert {path: path.read_bytes() for path in first.path.rglob("*") if path.is_file()} == before


def test_two_folders_are_built_at_once_into_one_tfds_folder(frames: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(frames, tmp_path / "other"))
    label = next((other / PS / "labels" / "train").iterdir())
    label.write_text("0 0.5 0.5 0.2 0.2\n")
    found: dict[Path, Dataset] = {}
    threads = [
        threading.Thread(target=lambda root=root: found.__setitem__(root, built(root, tmp_path / "tfds")))
        for root in (frames, other)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[frames].path != found[other].path
    for root, dataset in found.items():
        assert built(root, tmp_path / "fresh").card["content_digest"] == dataset.card["content_digest"]


def test_files_that_change_while_they_are_read_make_no_dataset(
    frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = example_gen.BUILDERS["ps"].folder_frames

    def meddled(self: object, manual_dir: Path) -> object:
        label = next((manual_dir / "labels" / "train").iterdir())
        label.write_text(label.read_text() + "\n\n")
        return original(self, manual_dir)

    monkeypatch.setattr(example_gen.BUILDERS["ps"], "folder_frames", meddled)
    with pytest.raises(ConflictError, match="changed while the dataset was built"):
        built(frames, tmp_path / "tfds")
    assert not list((tmp_path / "tfds" / "pipe_seg" / "example_gen").iterdir())


def test_data_build_keeps_what_tfds_users_expect_and_no_run_reads_it(
    frames: Path, tmp_path: Path, cli: Command
) -> None:
    tfds_dir = {"TFDS_DATA_DIR": str(tmp_path / "tfds")}
    made = json.loads(cli("data", "build", "ps", "--manual-dir", frames, "--json", **tfds_dir).stdout)
    assert Path(made["path"]) == tmp_path / "tfds" / "ps" / "default" / "1.2.0"
    again = built(frames, tmp_path / "tfds")
    assert again.key == made["key"]
    assert again.path != Path(made["path"])
    shutil.rmtree(tmp_path / "tfds" / "ps")
    assert built(frames, tmp_path / "tfds").path == again.path


@pytest.fixture(scope="module")
def trained(folder: Path, cli: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on frames of its own, with its own TFDS folder: ``frames``, ``tfds`` and ``runs`` side by side."""
    place = tmp_path_factory.mktemp("trained")
    shutil.copytree(folder, place / "frames")
    flags = [*TINY_FLAGS, "-s", "evaluator.minimum_iou=0", "-s", "export.precision=float32"]
    command = ["train", "--dataset", "ps", "--manual-dir", place / "frames", "--runs", place / "runs", "--name", "Anna"]
    cli(*command, *flags, "--unlock", TFDS_DATA_DIR=str(place / "tfds"))
    return place


@pytest.fixture
def place(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of ``trained`` to spoil."""
    copy = Path(shutil.copytree(trained, tmp_path / "place"))
    (run,) = (copy / "runs").iterdir()
    text = (run / "run.json").read_text().replace(str(trained), str(copy))
    (run / "run.json").write_text(text)
    monkeypatch.setenv("TFDS_DATA_DIR", str(copy / "tfds"))
    return copy


def the_run(place: Path) -> Run:
    (path,) = (place / "runs").iterdir()
    return Run(path)


def spoil(frames: Path) -> None:
    """Another contour for the first validation frame."""
    mask = next((frames / PS / "masks" / "val").iterdir())
    other = sorted((frames / PS / "masks" / "val").iterdir())[-1]
    mask.write_bytes(other.read_bytes())


def test_what_is_gone_is_made_again_from_the_recorded_folder(place: Path) -> None:
    run = the_run(place)
    before = datasets.data_of(run).contours
    digests = before.card["content_digest"]
    shutil.rmtree(place / "tfds")
    again = datasets.data_of(run).contours
    assert (again.path, again.key, again.card["content_digest"]) == (before.path, before.key, digests)


def test_other_bytes_in_the_recorded_folder_are_refused_in_one_line(place: Path, cli: Command, tmp_path: Path) -> None:
    run = the_run(place)
    shutil.rmtree(place / "tfds")
    spoil(place / "frames")
    environment = {"TFDS_DATA_DIR": str(place / "tfds")}
    for command in (
        ["evaluate", run.path, "--out", tmp_path / "e"],
        ["export", run.path, "--target-recall", "0.8", "--out", tmp_path / "m"],
        ["upload", run.path, "--yes", "--unblessed", "--to", tmp_path / "store"],
    ):
        (line,) = cli(*command, code=5, **environment).stderr.strip().splitlines()[-1:]
        assert "PipeSegmentation/masks has 12 files, other than the 12 files before" in line
    assert not [path for path in tmp_path.iterdir() if path.name in ("e", "m")]
    assert not list((tmp_path / "store").glob("pipe_seg/*"))


def test_a_run_is_scored_and_exported_on_its_own_frames_whatever_was_built_since(
    place: Path, cli: Command, tmp_path: Path
) -> None:
    """Another contour in the same folder, built: before, both verbs read whatever stood at the dataset's path."""
    run, environment = the_run(place), {"TFDS_DATA_DIR": str(place / "tfds")}
    before = run.scores
    spoil(place / "frames")
    cli("data", "build", "ps", "--manual-dir", place / "frames", **environment)
    scores = json.loads(cli("evaluate", run.path, "--out", tmp_path / "e", "--json", **environment).stdout)
    assert before
    assert scores["headline"] == before["headline"]
    cli("export", run.path, "--scale", "1.25", "--out", tmp_path / "m", "--json", **environment)
    record = json.loads((tmp_path / "m" / "artifact.json").read_text())
    assert record["inputs"]["tuning"] == run.info["datasets"]["ps"]["key"]


def test_a_run_is_judged_by_its_own_configuration(place: Path, cli: Command, tmp_path: Path) -> None:
    printed = cli("evaluate", the_run(place).path, "--out", tmp_path / "e", TFDS_DATA_DIR=str(place / "tfds")).stdout
    assert "below evaluator.minimum_iou" not in printed
    bars = ("-s", "evaluator.minimum_iou=0.99", "--out", tmp_path / "f")
    assert "2 scenes are fewer than evaluator.min_scenes 5" in printed
    more = ("-s", "evaluator.min_scenes=2", "--unlock")
    printed = cli("evaluate", the_run(place).path, *bars, *more, TFDS_DATA_DIR=str(place / "tfds")).stdout
    assert "below evaluator.minimum_iou 0.99" in printed


def test_a_split_that_the_data_lacks_is_named_with_the_command_that_makes_one(
    place: Path, cli: Command, tmp_path: Path
) -> None:
    command = ["evaluate", the_run(place).path, "--split", "test", "--out", tmp_path / "e"]
    printed = cli(*command, code=2, TFDS_DATA_DIR=str(place / "tfds")).stderr
    assert "this data has no test split" in printed
    assert "data split FOLDER --fractions 0.7,0.15,0.15" in printed


def test_the_card_of_an_upload_is_that_of_the_data_the_run_used(place: Path, cli: Command, tmp_path: Path) -> None:
    run, environment = the_run(place), {"TFDS_DATA_DIR": str(place / "tfds")}
    (place / "frames" / "LICENSE").write_text("of another set")
    cli("data", "build", "ps", "--manual-dir", place / "frames", **environment)
    cli("upload", run.path, "--yes", "--unblessed", "--to", tmp_path / "store", **environment)
    card = (tmp_path / "store" / "pipe_seg" / "1" / "README.md").read_text()
    assert "of another set" not in card


def test_prune_removes_what_no_run_refers_to_and_nothing_else(place: Path, cli: Command) -> None:
    run, environment = the_run(place), {"TFDS_DATA_DIR": str(place / "tfds")}
    spoil(place / "frames")
    unused = built(place / "frames", place / "tfds")
    used = datasets.data_of(run).contours
    prune = ["data", "prune", "--runs", place / "runs", "--json"]
    assert json.loads(cli(*prune, **environment).stdout)["artifacts"] == [], "both were made or used just now"
    for dataset in (unused, used):
        os.utime(dataset.path, (0, 0))
    listed = json.loads(cli(*prune, "--dry-run", **environment).stdout)
    assert [path for path, _ in listed["artifacts"]] == [str(unused.path)]
    assert unused.path.is_dir()
    assert json.loads(cli(*prune, **environment).stdout)["artifacts"] == listed["artifacts"]
    assert not unused.path.exists()
    assert used.path.is_dir()


def test_what_runs_in_another_folder_refer_to_stays(place: Path, tmp_path: Path) -> None:
    used = datasets.data_of(the_run(place)).contours
    store = ArtifactStore(str(place / "tfds"))
    os.utime(used.path, (0, 0))
    shutil.rmtree(store.root / "references")  # they name the run that this one was copied from
    store.refer(used.path, the_run(place).path)
    assert datasets.prune(settings(place / "tfds"), tmp_path / "no runs", dry_run=False) == []
    shutil.rmtree(place / "runs")
    os.utime(used.path, (0, 0))
    assert [path for path, _ in datasets.prune(settings(place / "tfds"), tmp_path, dry_run=False)] == [used.path]


def test_a_run_of_an_earlier_version_says_so(place: Path) -> None:
    run = the_run(place)
    info = run.info
    del info["datasets"]
    (run.path / "run.json").write_text(json.dumps(info))
    with pytest.raises(PipeSegError, match="did not record its data"):
        datasets.data_of(run)
