import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipe_seg import config
from pipe_seg.errors import ConfigError


def refusal(*overrides: str, source: Path | str | None = None, unlock: bool = False) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config.load(source, overrides, unlock=unlock)
    return caught.value.lines()


def test_what_is_printed_loads_to_the_same(tmp_path: Path) -> None:
    loaded = config.load("quick", ["seed=7", "ps.criterion=lovasz", "pbs.optimizer.weight_decay=0.05"])
    path = tmp_path / "config.yaml"
    path.write_text(loaded.to_yaml())
    assert config.load(path) == loaded


@pytest.mark.parametrize("name", ["default", *config.presets()])
def test_every_preset_loads_and_names_itself(name: str) -> None:
    assert config.load(name).preset == name
    assert not config.load(name).unlocked


def test_the_six_of_the_experiment_stand_under_their_names() -> None:
    loaded = config.load(
        None,
        [
            "seed=1",
            "pbs.epochs=2",
            "pbs.learning_rate=1e-4",
            "pbs.batch_size=3",
            "pbs.optimizer=sgd",
            "pbs.criterion={name: tversky, fp_weight: 0.5}",
        ],
    )
    assert (loaded.seed, loaded.pbs.epochs, loaded.pbs.learning_rate, loaded.pbs.batch_size) == (1, 2, 1e-4, 3)
    assert loaded.pbs.optimizer == config.Sgd()
    assert loaded.pbs.criterion == config.Tversky(fp_weight=0.5)
    assert loaded.ps == config.Config().ps


def test_overrides_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("pbs:\n  epochs: 5\n  batch_size: 6\n")
    loaded = config.load(path, ["pbs.epochs=9"])
    assert (loaded.pbs.epochs, loaded.pbs.batch_size) == (9, 6)
    assert loaded.pbs.learning_rate == config.Config().pbs.learning_rate


def test_an_unknown_key_names_file_line_and_the_likely_one(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("seed: 1\npbs:\n  epoch: 5\n")
    assert refusal(source=path) == [f"{path}:3: pbs.epoch: unknown key, did you mean epochs?"]


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("pbs.epochs=0", "pbs.epochs: input should be greater than or equal to 1 (got 0)"),
        ("pbs.epochs=many", "pbs.epochs: input should be a valid integer"),
        ("pbs.learning_rate=.nan", "pbs.learning_rate: "),
        ("pbs.learning_rate=-1", "pbs.learning_rate: "),
        ("pbs.criterion=hinge", "pbs.criterion: "),
        ("pbs.criterion={name: dice, alpha: 0.3}", "pbs.criterion.alpha: unknown key"),
        ("trainer.precision=float16", "trainer.precision: "),
        ("pbs.epochs", "not an override"),
        ("unlocked=[model.width]", "not an override"),
        ("evaluator.threshold=50", "evaluator.threshold"),
        ("evaluator.threshold=0.4567", "evaluator.threshold"),
        ("nothing.at.all=1", "nothing: unknown key"),
    ],
)
def test_a_wrong_value_is_one_line_with_its_key(override: str, what: str) -> None:
    (line,) = refusal(override)
    assert what in line


def test_no_claim_is_taken_back_where_so_much_has_to_be_found() -> None:
    with pytest.raises(ConfigError, match="min_component_fraction should be auto or 0"):
        config.load(None, ("export.target_recall=0.9", "export.min_component_fraction=0.005"))
    assert config.load(None, ("export.target_recall=0.9",)).export.min_component_fraction == "auto"


def test_a_locked_field_is_refused_with_the_reason() -> None:
    (line,) = refusal("model.width=8")
    assert "model.width is locked: weights of one width do not fit another (got 8)" in line
    assert "--unlock" in line


def test_unlocking_is_written_down_and_then_holds(tmp_path: Path) -> None:
    loaded = config.load(None, ["model.width=8"], unlock=True)
    assert loaded.unlocked == ("model.width",)
    path = tmp_path / "config.yaml"
    path.write_text(loaded.to_yaml())
    assert config.load(path) == loaded


def test_a_file_of_ones_own_may_not_change_a_locked_field(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("model:\n  width: 8\n")
    (line,) = refusal(source=path)
    assert line.startswith(f"{path}:2: model.width is locked")


def test_every_locked_field_says_why() -> None:
    locked = config.locked_fields()
    assert {"transform.image_height_px", "model.width", "model.depth", "model.norm"} <= set(locked)
    assert all(locked.values())


@pytest.mark.parametrize("text", ["a: 1\na: 2\n", "a: [1\n", "- 1\n", "\tx: 1\n", "a: \x01\n", "? [1]\n: 2\n"])
def test_what_is_no_configuration_is_named_with_its_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    (line,) = refusal(source=path)
    assert line.startswith(f"{path}:")


def test_a_missing_preset_lists_those_there_are() -> None:
    (line,) = refusal(source="nosuch")
    assert "quick" in line


SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=5)


@given(st.recursive(SCALARS, lambda inner: st.dictionaries(st.text(max_size=6), inner, max_size=3)))
def test_any_yaml_is_a_configuration_or_a_config_error(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.mktemp("any") / "x.yaml"
    path.write_text(yaml.safe_dump(value))
    with contextlib.suppress(ConfigError):
        config.load(path)


@pytest.mark.parametrize("arguments", [["--help"], ["config", "show"], ["runs", "list"], ["train", "--help"]])
def test_no_tensorflow_is_imported_before_it_is_needed(arguments: list[str], tmp_path: Path) -> None:
    code = (
        f"import sys; from pipe_seg.cli import run; assert run({arguments}) == 0; "
        "assert 'tensorflow' not in sys.modules; assert 'keras' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
