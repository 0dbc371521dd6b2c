"""A twice-blessed model → the next version in a model store."""

from pathlib import Path

from pipe_seg.artifacts import Evaluation, InfraBlessing, Model, PushedModel
from pipe_seg.config import InfraValidatorSection, PusherSection
from pipe_seg.errors import Problem, RefusedError
from pipe_seg.serving import probe, store


def run(
    section: PusherSection,
    *,
    model: Model,
    evaluation: Evaluation,
    infra: InfraBlessing,
    validator: InfraValidatorSection,
    unblessed: bool = False,
) -> PushedModel:
    """Publish ``model`` into ``section.store``.

    The infrastructure blessing is never waived: what does not load must not be served. ``unblessed``
    waives the evaluator's, and is written into the manifest.

    Raises:
        RefusedError: a blessing is missing, or the staged copy does not load.
    """
    if not infra.blessed:
        raise RefusedError(
            Problem(
                infra.path,
                "the model does not answer in a fresh process",
                got="; ".join(infra.record["details"]["faults"]),
            )
        )
    if not evaluation.blessed and not unblessed:
        reason = evaluation.record["details"]["reason"]
        raise RefusedError(
            Problem(
                evaluation.path, "not blessed by the evaluator", got=reason, expected="a better model, or --unblessed"
            )
        )
    details = evaluation.record["details"]
    facts = {
        "blessed": evaluation.blessed,
        "scores": details["scores"],
        "rendered": details["rendered"],
        "model": model.facts,
        "run": model.path.parent.name,
    }

    def verify(staged: Path) -> None:
        answer = probe.ask(staged, [], validator.timeout_s)
        if answer["faults"]:
            raise RefusedError(Problem(staged, "the staged copy does not load", got="; ".join(answer["faults"])))

    return PushedModel(store.publish(model.saved_model, store.local(section.store), facts, verify))
