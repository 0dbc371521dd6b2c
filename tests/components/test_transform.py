"""What comes out of the transform step: who is in a batch, and what is told of it."""

from pathlib import Path

import numpy as np
import pytest

from pipe_seg import config
from pipe_seg.artifacts import Dataset
from pipe_seg.components import example_gen, transform
from pipe_seg.config import Config, ExampleGenSection
from pipe_seg.data import targets
from pipe_seg.data.batches import TransformedExamples
from pipe_seg.data.examples import frames
from pipe_seg.data.training_data import TrainingData

SETTINGS = ("transform.image_height_px=64", "transform.image_width_px=80", "joint.ps_share=0.5")


@pytest.fixture(scope="module")
def datasets(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    section = ExampleGenSection(data_dir=str(tmp_path_factory.mktemp("tfds")))
    return {name: example_gen.run(section, name=name, manual_dir=folder, rendered=False) for name in ("pbs", "ps")}


def settings(*overrides: str) -> Config:
    return config.load(None, (*SETTINGS, *overrides), unlock=True)


def examples(datasets: dict[str, Dataset], *overrides: str, name: str = "pbs+ps") -> TransformedExamples:
    return transform.run(settings(*overrides), data=TrainingData(name, datasets), split="train", batch_size=4)


def test_every_batch_of_both_holds_the_share_of_contours_and_names_what_it_holds(datasets: dict[str, Dataset]) -> None:
    made = examples(datasets)
    ps = {frame.file_name for frame in frames(datasets["ps"].path, "train")}
    seen = []
    for step in range(made.steps):
        names = made.file_names(0, step)
        assert [name in ps for name in names] == [False, False, True, True]
        seen += names
    assert set(seen) - ps == {frame.file_name for frame in frames(datasets["pbs"].path, "train")}


def test_contours_of_each_class_are_drawn_equally_often(datasets: dict[str, Dataset]) -> None:
    made = examples(datasets, "joint.ps_share=0.75")
    first = {frame.file_name: (*frame.labels, -1)[0] for frame in frames(datasets["ps"].path, "train")}
    drawn = [first[n] for e in range(6) for s in range(made.steps) for n in made.file_names(e, s) if n in first]
    counts = np.unique(drawn, return_counts=True)[1]
    assert len(counts) == len(set(first.values()))
    assert np.ptp(counts) <= 6  # at most one an epoch


def test_going_on_from_a_step_gives_the_very_batches(datasets: dict[str, Dataset]) -> None:
    made = examples(datasets)
    straight = [next(it) for it in [iter(made.batches(0, 0))] for _ in range(made.steps + 2)]
    again = next(iter(made.batches(1, 1)))
    image, target = straight[made.steps + 1]
    np.testing.assert_array_equal(image.numpy(), again[0].numpy())
    for key, value in target.items():
        np.testing.assert_array_equal(value.numpy(), again[1][key].numpy(), key)


def test_what_is_told_depends_on_who_drew_it(datasets: dict[str, Dataset]) -> None:
    plain = ("transform.augment=false", "supervision.box_weight=0.25")
    _, routed = next(iter(examples(datasets, *plain, "supervision.fill_threshold=1.01").batches(0, 0)))
    _, filled = next(iter(examples(datasets, *plain, "supervision.boxes=filled").batches(0, 0)))
    told, boxes = routed["mask"].numpy()[..., 1], routed["boxes"].numpy()
    assert routed["weight"].numpy().tolist() == [0.25, 0.25, 1.0, 1.0]
    for number in (0, 1):  # boxes: nothing is called defect, the inside is untold, the outside is
        assert not routed["mask"].numpy()[number, ..., 0].any()
        left, top, right, bottom, share = boxes[number, 0]
        assert 0 < share < 1
        assert not told[number, round(top) : round(bottom), round(left) : round(right)].any()
        assert told[number].any()
        assert filled["mask"].numpy()[number, ..., 0].any()
    assert not boxes[2:].any()
    assert not filled["boxes"].numpy().any()
    assert routed["mask"].numpy()[2:, ..., 0].any()


def test_usual_fill_is_that_of_the_contours_that_train(datasets: dict[str, Dataset]) -> None:
    section, card = settings().supervision, datasets["ps"].card
    drawn = card["splits"]["train"]["box_against_contour"]
    rates = targets.fill_rates(section, card, "train")
    name = next(iter(drawn))
    assert rates[targets.CLASS_NAMES.index(name)] == drawn[name]["fill"]
    fixed = section.model_copy(update={"measure_fill": False})
    assert targets.fill_rates(fixed, card, "train") == list(section.fill_rates.values())


def test_the_data_of_a_training_has_one_key(datasets: dict[str, Dataset]) -> None:
    both = TrainingData("pbs+ps", datasets)
    assert both.full_name == "pbs+ps/default"
    assert both.contours == datasets["ps"]
    assert TrainingData("ps", {"ps": datasets["ps"]}).key == datasets["ps"].key
    assert both.key not in {None, datasets["ps"].key, datasets["pbs"].key}
