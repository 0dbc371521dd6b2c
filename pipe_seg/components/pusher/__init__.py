"""A twice-blessed model → the next version in a model store."""

import tempfile
from pathlib import Path

from pipe_seg import artifacts, images
from pipe_seg.artifacts import Dataset, Evaluation, InfraBlessing, Model, PushedModel
from pipe_seg.components.pusher import card
from pipe_seg.config import InfraValidatorSection, PusherSection
from pipe_seg.errors import Problem, RefusedError
from pipe_seg.inference import probe
from pipe_seg.serving import store
from pipe_seg.serving.store import version_labels


def run(
    section: PusherSection,
    *,
    model: Model,
    evaluation: Evaluation,
    infra: InfraBlessing,
    data: Dataset,
    validator: InfraValidatorSection,
    unblessed: bool = False,
) -> PushedModel:
    """Publishes ``model``, tuned on the dataset ``data``, into ``section.store`` as the candidate.

    The infrastructure blessing is never waived: what does not load must not be served. ``unblessed``
    waives the evaluator's, and is written into the manifest.

    Raises:
        RefusedError: a blessing is missing, or the staged copy does not answer.
    """
    if not infra.blessed:
        raise RefusedError(Problem(infra.path, "the model was not seen to answer in a fresh process"))
    if not (evaluation.path / artifacts.RECORD).is_file():
        raise RefusedError(Problem(evaluation.path, "the model was not evaluated"))
    if model.crop_margin is not None:
        cure = "a model trained on frames; this one is for `data refine`"
        raise RefusedError(Problem(model.path, "draws inside boxes, and who asks a server has none", expected=cure))
    if data.key != model.record["inputs"]["tuning"]:
        raise RefusedError(Problem(data.path, "is not the data that the model was tuned on", got=str(data.key)[:12]))
    digest = model.digest
    for blessing in (infra, evaluation):
        if blessing.record["inputs"]["model"] != digest:
            raise RefusedError(Problem(model.saved_model, "is not the model that was blessed", got=digest[:12]))
    if not evaluation.blessed and not unblessed:
        reason, cure = evaluation.record["details"]["reason"], "a better model, or --unblessed"
        raise RefusedError(Problem(evaluation.path, "not blessed by the evaluator", got=reason, expected=cure))
    details = evaluation.record["details"]
    facts = {
        "blessed": evaluation.blessed,
        "scores": details["scores"],
        "rendered": details["rendered"],
        "model": model.facts,
        "run": model.path.parent.name,
        "data_digest": evaluation.record["inputs"]["dataset"],
    }

    def verify(staged: Path) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            frame = Path(scratch) / "grey.jpg"
            frame.write_bytes(images.encode(images.grey_frame(), ".jpg"))
            answer = probe.ask(staged, [frame], validator.timeout_s)
        if answer["faults"] or answer["frames"] != 1:
            raise RefusedError(Problem(staged, "the staged copy does not answer", got="; ".join(answer["faults"])))

    place = store.at(section.store)
    version_labels.read(place)  # raises before anything is published if it cannot be read
    texts = {card.NAME: card.render(model, evaluation, infra, data)}
    number = store.publish(place, model.saved_model, facts, verify, texts)
    version_labels.upload(place, number)
    return PushedModel(place.named(number))
