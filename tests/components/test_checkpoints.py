"""Checkpoints: whole or absent, verified when read, the one before when the newest is damaged."""

import logging
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pipe_seg import disk
from pipe_seg.components.trainer.checkpoints import Checkpoints
from pipe_seg.components.trainer.loop import Progress
from pipe_seg.components.trainer.state import State
from pipe_seg.errors import ConfigError, MachineError, RefusedError
from tests.conftest import ROOT

FILES = ("best.npz", "manifest.json", "state.json", "variables.data-00000-of-00001", "variables.index")
ABOUT = {"config": {"ps": {"epochs": 40}, "seed": 1}, "data_key": "abc"}


def state(step: int) -> State:
    progress = Progress(images=8, loss=0.1 + 0.2, iou=1 / 3)
    return State(2, step, progress, best_iou=0.1, best_epoch=1, skipped=1, history=[{"epoch": 1, "train/loss": 1 / 3}])


def filled(folder: Path, steps: int = 2, kept: int = 2) -> Checkpoints:
    """Give a folder with a checkpoint of each step, its variables holding the number of the step."""
    weight, count = tf.Variable(np.zeros((50, 3), np.float32)), tf.Variable(0, dtype=tf.int64)
    checkpoints = Checkpoints(folder, kept, {"network": [weight], "optimizer": [count]}, ABOUT)
    for step in range(1, steps + 1):
        weight.assign(tf.fill((50, 3), float(step)))
        count.assign(step)
        checkpoints.save(state(step), [np.full((4,), step, np.float32)])
    weight.assign(tf.fill((50, 3), -1.0))
    return checkpoints


def restored_step(checkpoints: Checkpoints) -> int:
    """Restore, and make sure that everything is of one step."""
    found = checkpoints.restore()
    assert found is not None
    step = found[0].step
    assert found[0] == state(step)
    np.testing.assert_array_equal(found[1][0], np.full((4,), step, np.float32))
    weight, count = checkpoints._variables
    assert weight.numpy().tolist() == [[step] * 3] * 50
    assert int(count.numpy()) == step
    return step


def test_what_was_saved_comes_back_bit_by_bit(tmp_path: Path) -> None:
    assert restored_step(filled(tmp_path / "c")) == 2


def test_the_last_k_are_kept_and_nothing_else(tmp_path: Path) -> None:
    filled(tmp_path / "c", steps=7, kept=3)
    assert sorted(path.name[-1] for path in (tmp_path / "c").iterdir()) == ["5", "6", "7"]


def test_the_files_are_those_that_are_damaged_below(tmp_path: Path) -> None:
    (newest, *_) = filled(tmp_path / "c").found
    assert tuple(sorted(path.name for path in newest.iterdir())) == FILES


def cut(share: float) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def flip(seed: int) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        data = bytearray(path.read_bytes())
        place = random.Random(seed).randrange(len(data) * 8)
        data[place // 8] ^= 1 << place % 8
        path.write_bytes(data)

    return damage


DAMAGE = {
    **{f"cut to {share:.0%}": cut(share) for share in (0, 0.01, 0.5, 0.99)},
    **{f"bit {seed}": flip(seed) for seed in range(20)},
    "deleted": Path.unlink,
}


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_newest_falls_back_loudly_to_the_one_before(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(DAMAGE) == 25
    for kind, damage in DAMAGE.items():
        caplog.clear()
        checkpoints = filled(tmp_path / kind)
        damage(checkpoints.found[0] / name)
        assert restored_step(checkpoints) == 1, kind
        (told,) = caplog.records
        assert told.levelno == logging.WARNING
        assert name in told.message
        checkpoints.set_damaged_aside()
        assert len(checkpoints.found) == 1
        checkpoints.save(state(3), [])
        assert [path.name[-1] for path in checkpoints.found] == ["3", "1"]
        assert len(list((tmp_path / kind).iterdir())) == 2, kind


def test_a_file_too_many_is_damage(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path / "c")
    (checkpoints.found[0] / "more").write_text("")
    assert restored_step(checkpoints) == 1


def test_never_silently_from_scratch(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path / "c")
    for path in checkpoints.found:
        (path / "variables.index").unlink()
    with pytest.raises(RefusedError, match=r"variables\.index, which manifest\.json names, is missing"):
        checkpoints.restore()


def test_where_there_never_was_one_there_is_none(tmp_path: Path) -> None:
    assert filled(tmp_path / "c", steps=0).restore() is None


def test_another_configuration_or_dataset_is_refused_with_the_difference(tmp_path: Path) -> None:
    filled(tmp_path / "c")
    other = {"config": {"ps": {"epochs": 50}, "seed": 1}, "data_key": "abd"}
    variables = {"network": [tf.Variable(tf.zeros((50, 3)))], "optimizer": [tf.Variable(0, dtype=tf.int64)]}
    with pytest.raises(ConfigError) as caught:
        Checkpoints(tmp_path / "c", 2, variables, other).restore()
    assert [line.partition(": ")[2] for line in caught.value.lines()] == [
        "ps.epochs differs (got 50); expected 40, as it began",
        "data_key differs (got abd); expected abc, as it began",
    ]


def test_variables_of_another_shape_do_not_fit(tmp_path: Path) -> None:
    filled(tmp_path / "c")
    variables = {"network": [tf.Variable(tf.zeros((51, 3)))], "optimizer": [tf.Variable(0, dtype=tf.int64)]}
    with pytest.raises(MachineError, match="does not fit"):
        Checkpoints(tmp_path / "c", 2, variables, ABOUT).restore()


def refuse(folder: Path) -> None:
    raise OSError(28, "No space left on device", str(folder))


def test_a_save_that_fails_leaves_those_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = filled(tmp_path / "c")
    with monkeypatch.context() as patch:
        patch.setattr(disk, "sync_tree", refuse)
        with pytest.raises(MachineError):
            checkpoints.save(state(3), [])
    assert not list((tmp_path / "c").glob(f"*{state(3).name}*"))
    assert restored_step(checkpoints) == 2


def test_weights_that_are_not_finite_are_seen(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path / "c")
    assert checkpoints.finite
    weight = checkpoints._variables[0]
    weight[3, 1].assign(float("inf"))
    assert not checkpoints.finite


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not here")
def test_everything_is_on_disk_before_the_name_appears_and_the_name_after(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from tests.components.test_checkpoints import filled; "
        f"filled(Path({str(tmp_path / 'c')!r}), steps=1)"
    )
    log = tmp_path / "log"
    command = ["strace", "-f", "-y", "-e", "trace=fsync,rename,renameat2", "-o", str(log), sys.executable, "-c", code]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    lines = log.read_text().splitlines()
    renames = [n for n, line in enumerate(lines) if "rename" in line and line.rstrip().endswith(" = 0")]
    (published,) = [n for n in renames if f'/{state(1).name}"' in lines[n]]
    synced = [re.search(r"fsync\(\d+<([^>]*)>\) += 0", line) for line in lines]
    before = {Path(found[1]).name for found in synced[:published] if found}
    assert before >= {*FILES}
    assert any(name.startswith(f".{state(1).name}.") and name.endswith(".partial") for name in before)
    assert str(tmp_path / "c") in {found[1] for found in synced[published:] if found}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mount folders of a given size in bytes."""
    mounted: list[Path] = []

    def mount(size: int) -> Path:
        place = tmp_path / f"disk-{len(mounted)}"
        place.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], capture_output=True)
        if done.returncode:
            pytest.skip("mounting is not allowed here")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", place], check=True)


def big(folder: Path) -> Checkpoints:
    variables = {"network": [tf.Variable(np.zeros((50, 3), np.float32))], "optimizer": [tf.Variable(0, dtype=tf.int64)]}
    variables["average"] = [tf.Variable(np.zeros((512, 512), np.float32))]
    return Checkpoints(folder, 2, variables, ABOUT)


@pytest.mark.parametrize(("share", "saved"), [(0.9, 0), (1.5, 1), (2.5, 2)])
def test_a_full_disk_ends_with_4_and_the_checkpoint_before_stands(
    tmp_path: Path, small_disk: Callable[[int], Path], share: float, saved: int
) -> None:
    big(tmp_path / "c").save(state(0), [])
    size = sum(path.stat().st_size for path in (tmp_path / "c").rglob("*") if path.is_file())
    checkpoints = big(small_disk(int(share * size)) / "c")
    for step in range(1, saved + 1):
        checkpoints.save(state(step), [])
    with pytest.raises(MachineError) as caught:
        checkpoints.save(state(saved + 1), [])
    assert caught.value.exit_code == 4
    found = checkpoints.restore()
    assert (found[0].step if found else 0) == saved
    assert len(checkpoints.found) == saved


def test_a_folder_that_cannot_be_written_ends_with_4(tmp_path: Path, small_disk: Callable[[int], Path]) -> None:
    place = small_disk(2**24)
    checkpoints = big(place / "c")
    checkpoints.save(state(1), [])
    subprocess.run(["mount", "-o", "remount,ro", place], check=True)
    with pytest.raises(MachineError, match="Read-only"):
        checkpoints.save(state(2), [])
    found = checkpoints.restore()
    assert found is not None
    assert found[0].step == 1
