"""Fixtures that several tests share."""

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import hypothesis
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# A busy machine is no failed property.
hypothesis.settings.register_profile("house", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("house")

ROOT = Path(__file__).resolve().parent.parent
REAL_FRAMES = ROOT.parent / "shared" / "data"
TINY = (
    "transform.image_height_px=64",
    "transform.image_width_px=80",
    "model.width=4",
    "model.depth=2",
    "pbs.epochs=2",
    "pbs.batch_size=4",
    "ps.epochs=2",
    "ps.batch_size=4",
    "evaluator.bootstrap_draws=50",
    "infra_validator.frames=2",
)
TINY_FLAGS = [part for text in TINY for part in ("-s", text)] + ["--unlock"]

Command = Callable[..., "Answer"]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: rendered frames as JPEG, YOLO boxes and masks, in the layout of ``datasets/``."""
    from pipe_seg import images
    from pipe_seg.data import synthetic

    root = tmp_path_factory.mktemp("datasets")
    splits = {"train": range(4), "val": range(4, 6)}
    for name, first in (("PipeBoxSegmentation", 0), ("PipeSegmentation", 50)):
        for split, pipes in splits.items():
            for pipe in pipes:
                for shot in range(2):
                    frame = synthetic.render(5, first + pipe, shot)
                    stem = f"{first + pipe:06d}_{shot}"
                    _write(root / name / "images" / split / f"{stem}.jpg", frame.jpeg)
                    lines = "".join(
                        f"{b.label} {(b.x_min + b.x_max) / 2} {(b.y_min + b.y_max) / 2} {b.x_max - b.x_min} "
                        f"{b.y_max - b.y_min}\n"
                        for b in frame.boxes
                    )
                    _write(root / name / "labels" / split / f"{stem}.txt", lines.encode())
                    if name == "PipeSegmentation":
                        png = images.encode(frame.mask * 255, ".png")
                        _write(root / name / "masks" / split / f"{stem}_mask.png", png)
    return root


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@dataclass(frozen=True)
class Answer:
    """What a command said and how it ended."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture(scope="session")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Call the command line through its entry point, in this process; datasets go to a folder of the session."""
    data_dir = tmp_path_factory.mktemp("tfds")

    def call(*arguments: object, cwd: Path | None = None, code: int = 0, **environment: str) -> Answer:
        from pipe_seg.cli import run

        out, err = io.StringIO(), io.StringIO()
        with contextlib.ExitStack() as stack:
            stack.enter_context(mock.patch.dict(os.environ, {"TFDS_DATA_DIR": str(data_dir), **environment}))
            stack.enter_context(contextlib.chdir(cwd or data_dir))
            stack.enter_context(mock.patch.object(sys, "stdin", stack.enter_context(open(os.devnull))))
            stack.enter_context(contextlib.redirect_stdout(out))
            stack.enter_context(contextlib.redirect_stderr(err))
            found = run([str(argument) for argument in arguments])
        answer = Answer(found, out.getvalue(), err.getvalue())
        assert found == code, f"exit {found}\n{answer.stdout}\n{answer.stderr}"
        return answer

    return call


@pytest.fixture(scope="session")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Call ``python cli.py`` in a process of its own."""
    data_dir = tmp_path_factory.mktemp("tfds")

    def call(*arguments: object, cwd: Path | None = None, code: int = 0) -> Answer:
        done = subprocess.run(
            [sys.executable, str(ROOT / "cli.py"), *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=cwd or data_dir,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "TFDS_DATA_DIR": str(data_dir)},
            check=False,
        )
        assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return Answer(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory, folder: Path, cli: Command) -> Path:
    """A folder with one tiny PBS run and one tiny PS run that started from it, in float32."""
    place = tmp_path_factory.mktemp("work") / "runs"
    common = ["--manual-dir", folder, "--runs", place, "--name", "Anna", *TINY_FLAGS]
    common += ["-s", "trainer.precision=float32", "-s", "export.precision=float32"]
    cli("train", "--dataset", "pbs", *common)
    cli("train", "--dataset", "ps", "--init", "last", *common)
    return place
