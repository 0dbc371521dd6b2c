"""The texts that show results at the end of a run."""

import sys
from pathlib import Path
from typing import Any

from pipe_seg.errors import invocation
from pipe_seg.pipeline.frames import crop_source
from pipe_seg.pipeline.runs import Run

PIPED_WIDTH = 250
DEFAULT_RUNS = Path("runs")


def summary(run: Run) -> str:
    """Returns the scores with their intervals, the verdict and where to look."""
    scores = run.scores
    if scores is None:
        return f"run        {run.path}\nno scores: it was not evaluated"
    return f"run        {run.path}\n{judged(scores, run.evaluation.path)}"


def judged(scores: dict[str, Any], folder: Path) -> str:
    """Returns one evaluation: scores, anchor, threshold, verdict, report."""
    lines, words = [headline(scores)], rendered(scores)
    if "no_interval" in scores:
        lines.append(f"           {scores['no_interval']}")
    boxes = scores["anchors"]["filled_boxes_iou"]
    if boxes is not None:
        lines.append(f"           filled boxes of these frames: {words}IoU {boxes:.3f}")
    lines.append(f"           threshold {scores['threshold']}: {scores['threshold_chosen']}")
    chosen, half = scores.get("chosen_here", []), scores["second"]["iou_at_0.5"]
    if chosen:
        fixed = f"; at 0.5: {words}IoU {half:.3f}" if "threshold" in chosen else ""
        lines.append(f"           these very frames chose {_listed(chosen)}, which biases scores upwards{fixed}")
    verdict = "blessed" if scores["blessed"] else "not blessed"
    return "\n".join([*lines, f"verdict    {verdict}: {scores['reason']}", f"report     {folder / 'report.html'}"])


def headline(scores: dict[str, Any]) -> str:
    """Returns the lines on IoU and Dice, with the word *rendered* where it belongs."""
    words = rendered(scores)
    held_out = "" if scores.get("n_learnt") else "held-out "
    truth = {"contour": f"{held_out}contours", "box": "filled boxes"}.get(scores["truth"], "refined boxes")
    truth += ", each in a box cut out of its frame" if scores.get("cropped") else ""
    parts = "  ".join(
        f"{words}{title} {_interval(scores['headline'][key])}" for title, key in (("IoU", "iou"), ("Dice", "dice"))
    )
    return f"scores     {parts}\n           on {scores['n_images']} {truth} ({scores['dataset']}, {scores['split']})"


def _listed(words: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def rendered(scores: dict[str, Any]) -> str:
    """Returns the words before every score on rendered frames, and on boxes cut out of frames."""
    return ("rendered " if scores.get("rendered") else "") + ("in-box " if scores.get("cropped") else "")


def next_steps(run: Run, runs: Path) -> str:
    """Returns the commands that a person would type now, with the ``--runs`` of this call."""
    where = [] if runs == DEFAULT_RUNS else ["--runs", runs]
    dataset = str(run.info["dataset"]).partition("/")[0]
    if (run.scores or {}).get("cropped"):
        folder = run.info.get("source", run.info)["manual_dir"]
        source = crop_source(Path(folder)) or "DIR"
        return f"next       {invocation('data', 'refine', run.path, '--manual-dir', source, '--out', 'refined')}"
    steps: list[tuple[object, ...]] = [("tensorboard", *where), ("predict", run.path, "IMAGES", "--out", "predictions")]
    if dataset == "pbs" and "request" not in run.info:
        preset = [] if run.info["preset"] in ("default", "quick") else ["--preset", run.info["preset"]]
        folder = [] if run.rendered else ["--manual-dir", run.info["manual_dir"]]
        steps.insert(0, ("train", "--dataset", "ps", *preset, *folder, "--init", run.path, *where))
    steps.append(("upload", run.path))
    return "\n".join(f"{'next' if index == 0 else '':<11}{invocation(*step)}" for index, step in enumerate(steps))


def _interval(score: dict[str, float | None]) -> str:
    value, low, high = score["value"], score["low"], score["high"]
    if value is None:
        return "–"
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} [{low:.3f} … {high:.3f}]"


def operating_point(point: dict[str, Any]) -> str:
    """Returns what a threshold finds and what it costs."""
    shares = {
        name: "–" if point[name] is None else f"{point[name]:.1%}"
        for name in ("recall", "precision", "false_positive_rate")
    }
    found = (
        f"p ≥ {point['threshold']:.3f}: finds {shares['recall']} of the defect's pixels, {shares['precision']} of the"
    )
    rate = f"{shares['false_positive_rate']} of the background predicted positive"
    return f"{found} predictions are right, IoU {text(point['iou'])}, {rate}"


def text(value: Any) -> str:
    """Returns a value as a cell of a table."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3f}" if isinstance(value, float) and 0 <= value <= 1 else str(value)


def table(header: list[str], rows: list[list[Any]]) -> None:
    """Print rows under their header, one line each."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in header:
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(*map(text, row))
    Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, highlight=False).print(table)
