"""What happens with a trained model: exported again, scored, published."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipe_seg.artifacts import Dataset, Evaluation, Model, PushedModel
from pipe_seg.config import Config, ExportSection
from pipe_seg.pipeline import datasets
from pipe_seg.pipeline.runs import Run

if TYPE_CHECKING:
    from pipe_seg.nn.scores import FrameScore


def evaluate(settings: Config, model: Model, dataset: Dataset, *, out: Path, split: str = "validation") -> Evaluation:
    """Scores an exported model on one split."""
    from pipe_seg.components import evaluator

    return evaluator.run(settings.evaluator, model=model, dataset=dataset, split=split, seed=settings.seed, out=out)


def export(
    run: Run,
    *,
    precision: str,
    target_recall: float | None,
    scale: float | None,
    formats: Sequence[str],
    int8: bool,
    out: Path,
) -> Model:
    """Exports a run's weights with its operating point, or a new one chosen on its validation frames.

    Args:
        run: The run.
        precision: ``auto``, ``float32`` or ``bfloat16``.
        target_recall: Choose the highest threshold that finds this share of the defect's pixels.
        scale: Predict at this many times the size of training; the threshold is chosen anew.
        formats: Formats for other runtimes, beside the SavedModel.
        int8: Quantise the LiteRT file.
        out: The folder to make.

    Raises:
        ConflictError: The run's validation frames are not there any more, or ``out`` exists already.
        MachineError: A format's package is not installed.
    """
    from pipe_seg.components import export as component
    from pipe_seg.components.export import portable

    for name in formats:
        portable.check(name)
    facts, settings = run.model.facts, run.config
    wanted: dict[str, Any] = {"precision": precision, "min_component_fraction": facts["min_component_fraction"]}
    wanted |= {"scale": scale} if scale is not None else {}
    wanted |= {"target_recall": target_recall, "min_component_fraction": 0.0} if target_recall is not None else {}
    threshold = facts["threshold"] if target_recall is None and scale is None else "auto"
    section = ExportSection.model_validate(settings.export.model_dump() | wanted)
    evaluator = settings.evaluator.model_copy(update={"threshold": threshold})
    return component.run(
        settings.model_copy(update={"export": section, "evaluator": evaluator}),
        trained=run.trained,
        tuning=datasets.data_of(run).contours,
        out=out,
        before=facts,
        formats=formats,
        int8=int8,
    )


def push(settings: Config, run: Run, *, store: str | None, unblessed: bool) -> PushedModel:
    """Publishes the run's model as the next version in a store, with the card of the data it was tuned on."""
    from pipe_seg.components import pusher

    section = settings.pusher if store is None else settings.pusher.model_copy(update={"store": store})
    return pusher.run(
        section,
        model=run.model,
        evaluation=run.evaluation,
        infra=run.infra,
        data=datasets.data_of(run).contours,
        validator=settings.infra_validator,
        unblessed=unblessed,
    )


def held_out(model: Model, dataset: Dataset, split: str) -> "list[FrameScore]":
    """Returns what each frame of a split adds to a score."""
    from pipe_seg.data import examples as data
    from pipe_seg.inference.saved_model import LoadedModel
    from pipe_seg.inference.scoring import score_frames

    return score_frames(LoadedModel(model.saved_model).probability, data.load(dataset.path, split).as_numpy_iterator())


def filled_boxes(dataset: Dataset, split: str) -> dict[str, float]:
    """Returns the IoU of each frame's filled boxes with its contour; skips frames without boxes."""
    from pipe_seg.data import examples as data
    from pipe_seg.inference.scoring import box_counts

    counted = {f.file_name: box_counts(f.boxes, f.segmentation_mask) for f in data.frames(dataset.path, split)}
    return {name: counts.iou for name, counts in counted.items() if counts}
