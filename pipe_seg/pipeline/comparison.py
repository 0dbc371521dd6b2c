"""Runs side by side: what differs, and which was best on the same frames."""

from pathlib import Path
from typing import Any

import yaml

from pipe_seg import config
from pipe_seg.errors import PipeSegError
from pipe_seg.pipeline.runs import Run, list_runs


def compare(first: Run, second: Run) -> dict[str, dict[str, tuple[Any, Any]]]:
    """Returns what differs between two runs, by part (config, run, data, training, scores) and dotted key."""
    parts = [_parts(run) for run in (first, second)]
    return {part: config.differences(parts[0][part], parts[1][part]) for part in parts[0]}


def _parts(run: Run) -> dict[str, dict[str, Any]]:
    info = run.info
    data = {key: info.pop(key, None) for key in ("dataset", "manual_dir", "data_key", "datasets")}
    trained = run.trained.record["details"] if run.trained.path.is_dir() else {}
    return {
        "config": yaml.safe_load((run.path / "config.yaml").read_text("utf-8")),
        "run": {**info, "command": " ".join(info.get("command", []))},
        "data": {**data, **info.pop("data", {})},
        "training": {key: value for key, value in trained.items() if key != "data_key"},
        "scores": _headline(run),
    }


def _headline(run: Run) -> dict[str, Any]:
    scores = run.scores or {}
    return {key: value["value"] for key, value in scores.get("headline", {}).items()} | {
        "cropped": scores.get("cropped", False)
    }


def previous_best(runs: Path, but: Run) -> tuple[Run, float] | None:
    """Returns the run with the highest ``iou`` on the frames that ``but`` was scored on, and that ``iou``."""
    own = but.scores or {}
    scored = []
    for run in list_runs(runs):
        try:
            scores = run.scores
        except PipeSegError:
            continue
        same = scores and all(scores.get(key) == own.get(key) for key in ("dataset_key", "split", "empty"))
        if run.path != but.path and scores and same and scores["headline"]["iou"]["value"]:
            scored.append((run, float(scores["headline"]["iou"]["value"])))
    return max(scored, key=lambda pair: pair[1], default=None)
