"""The sections of the configuration, one a component; defaults stand only here."""

from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, model_validator

from pipe_seg.config.choices import AdamW, BceDice, Criterion, Optimizer, Section
from pipe_seg.schema import JOINT


def locked(default: Any, why: str, **constraints: Any) -> Any:
    """Declare a field marked *do not touch*: ``why`` is told to whoever tries."""
    return Field(default, json_schema_extra={"locked": why}, **constraints)


def _threshold(value: Any) -> Any:
    if value == "auto":
        return value
    try:
        level = float(value) * 1000
    except (TypeError, ValueError):
        level = 0.0
    if not 0.5 < level < 999.5 or abs(level - round(level)) > 1e-6:
        raise ValueError("should be auto, or 0.001 … 0.999 in steps of 0.001")
    return value


class Recipe(Section):
    """What the experiment sets for one dataset."""

    epochs: int = Field(30, ge=1, le=100_000)
    learning_rate: float = Field(1e-3, gt=0, le=10)
    batch_size: int = Field(8, ge=1, le=4096)
    optimizer: Optimizer = AdamW()
    criterion: Criterion = BceDice()


class JointRecipe(Recipe):
    """What is set for both datasets together: ``ps_share`` of every batch are frames with contours."""

    ps_share: float = Field(0.4, gt=0, lt=1)


class ExampleGenSection(Section):
    """Raw folders → TFDS.

    ``max_bad``: how many frames ``on_bad: skip`` may leave out, a number or a share as ``1%``; ``beam``: Beam's
    options as ``runner=DirectRunner``, none to build in this process.
    """

    data_dir: str | None = None
    on_bad: Literal["fail", "skip"] = "fail"
    max_bad: str = Field("0", pattern=r"^(\d{1,9}|\d{1,3}(\.\d{1,6})?%)$")
    beam: tuple[Annotated[str, Field(pattern=r"^[a-z_]+(=.*)?$")], ...] = ()


class TransformSection(Section):
    """Examples → batches."""

    image_height_px: int = locked(256, "the network, its batches and the exported graph share it", ge=16, le=4096)
    image_width_px: int = locked(320, "the network, its batches and the exported graph share it", ge=16, le=4096)
    augment: bool = True
    cache: bool = True


USUAL_FILL = {
    "deformation": 0.4,
    "obstacle": 0.45,
    "rupture": 0.4,
    "disconnect": 0.2,
    "misalignment": 0.2,
    "deposition": 0.5,
}


class SupervisionSection(Section):
    """What a label pays for.

    ``boxes``: ``filled`` takes every pixel of a box for defect; ``routed`` does so only where a class fills at
    least ``fill_threshold`` of its boxes, and takes from the others that outside is background, that every row and
    column meets a defect (``tightness_weight``), and that the likeliest pixels, as many as usual, are defect
    (``fill_weight``; a ``fill_tolerance`` of that share is left open; where ``seen_share`` of the box is in view).
    How many that is comes from the contours; ``fill_rates`` stand for classes that no contour shows, and for all
    where ``measure_fill`` is off. ``edge_band``, a share of the side and at least ``edge_band_px`` of the network's,
    is untold on both sides of an edge. ``box_weight``: what a frame with boxes counts beside one with contours.
    ``affinity_weight``: neighbours in loose boxes that look alike are of one kind; 0 for no such term.
    ``shape_prior_weight``: when the likeliest pixels of a box are looked for, a pixel is so many logits less likely for
    half a side of it away from where such defects lie: at the rim, if they fill less than 0.3, else in the middle.
    """

    boxes: Literal["filled", "routed"] = "routed"
    fill_threshold: float = Field(0.3, ge=0, le=1.01)
    fill_rates: dict[str, float] = USUAL_FILL
    measure_fill: bool = True
    edge_band: float = Field(0.06, ge=0, le=0.5)
    edge_band_px: float = Field(1.0, ge=0)
    tightness_weight: float = Field(1.0, ge=0)
    fill_weight: float = Field(1.0, ge=0)
    fill_tolerance: float = Field(0.3, ge=0, le=1)
    seen_share: float = Field(0.8, ge=0, le=1)
    box_weight: float = Field(1.0, ge=0)
    affinity_weight: float = Field(0.0, ge=0)
    shape_prior_weight: float = Field(0.0, ge=0, le=8)

    @property
    def looks_alike(self) -> bool:
        """Whether the loss looks at the frame's colours."""
        return self.boxes == "routed" and self.affinity_weight > 0


class ModelSection(Section):
    """The network.

    ``encoder``: ``plain`` and ``residual`` are ours and learn from nothing; the others bring features of
    photographs. ``weights``: what those begin with: ``imagenet``, a file, or ``none``. ``depth`` is that of ours;
    the others halve a frame five times.
    """

    encoder: Literal["plain", "residual", "efficientnet_lite0", "efficientnetv2b0", "mobilenetv2", "resnet50v2"] = (
        locked("plain", "weights of one encoder do not fit the other")
    )
    weights: str = Field("imagenet", min_length=1)
    width: int = locked(32, "weights of one width do not fit another", ge=1, le=512)
    depth: int = locked(4, "weights of one depth do not fit another", ge=1, le=7)
    norm: Literal["batch", "group"] = locked("batch", "weights of one normalisation do not fit the other")
    dropout: float = locked(0.1, "measured together with width and depth", ge=0, lt=1)


class TrainerSection(Section):
    """Examples → a trained model.

    ``keep``: ``best`` is the epoch with the highest validation IoU; with ``last`` validation chooses nothing and ends
    nothing early; ``schedule``: ``cosine`` ends at ``final_rate_share`` of the rate; ``accumulate``: in how many parts
    a batch is computed, for less memory; ``deterministic``: the same seed gives the same weights on the same machine;
    ``checkpoint_every_s``: at most so much work is lost, 0 for after every call; ``checkpoints_kept``:
    the last so many; ``skipped_steps``: how many steps in a row may be not finite before training goes back to the
    last checkpoint; ``memory_gib``: what ``--batch-size auto`` may fill, all that is free where it is not given.
    """

    keep: Literal["best", "last"] = "best"
    strategy: Literal["auto", "one", "mirrored", "multiworker"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    deterministic: bool = True
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_share: float = Field(0.05, ge=0, lt=1)
    final_rate_share: float = Field(0.01, ge=0, le=1)
    ema_momentum: float = Field(0.99, ge=0, lt=1)
    gradient_clip_norm: float = Field(1.0, gt=0)
    early_stopping_epochs: int = Field(15, ge=1)
    steps_per_call: int = Field(8, ge=1)
    accumulate: int = Field(1, ge=1, le=4096)
    checkpoint_every_s: float = Field(300, ge=0)
    checkpoints_kept: int = Field(2, ge=2, le=100)
    skipped_steps: int = Field(3, ge=1)
    memory_gib: float | None = Field(None, gt=0)

    @property
    def chooses(self) -> bool:
        """Whether validation chooses the epoch and may end training early."""
        return self.keep == "best"


Threshold = Annotated[float | Literal["auto"], BeforeValidator(_threshold)]


Share = Annotated[float, Field(gt=0, le=1)]


class EvaluatorSection(Section):
    """The exported model → scores.

    ``recalls``: for which shares of the defect's pixels the report says what finding them costs.
    """

    threshold: Threshold = "auto"
    empty: Literal["skip", "one", "zero"] = locked(
        "skip", "scores with another rule for empty frames cannot be compared"
    )
    bootstrap_draws: int = Field(2000, ge=10)
    minimum_iou: float = Field(0.3, ge=0, le=1)
    min_component_area_px: int = Field(64, ge=0)
    recalls: tuple[Share, ...] = (0.5, 0.7, 0.8, 0.9, 0.95)


class ExportSection(Section):
    """The model → a SavedModel.

    ``flip``: the mirrored frame is asked for too; ``scale``: the network is asked at so many times the size at which
    it learnt (Touvron et al., arXiv 1906.06423); ``min_component_fraction``: share of the frame under which a connected
    component is taken back, ``auto`` is chosen on validation; ``target_recall``: the threshold is the highest that
    finds this share of the defect's pixels on validation, instead of the one with the highest IoU, and no claim is
    taken back.
    """

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    flip: bool = True
    scale: float = Field(1.0, ge=0.5, le=4)
    min_component_fraction: Annotated[float, Field(ge=0, lt=1)] | Literal["auto"] = "auto"
    target_recall: float | None = Field(None, gt=0, le=1)

    @model_validator(mode="after")
    def _finds(self) -> "ExportSection":
        if self.target_recall and self.min_component_fraction not in (0, "auto"):
            raise ValueError(
                "target_recall: what is taken back is not found; min_component_fraction should be auto or 0"
            )
        return self


class InfraValidatorSection(Section):
    """A fresh process loads the SavedModel."""

    frames: int = Field(4, ge=1)
    timeout_s: float = Field(180, gt=0)


class PusherSection(Section):
    """A blessed model → a model store."""

    store: str = "models"


class Config(Section):
    """Everything a run is decided by."""

    preset: str = "default"
    unlocked: tuple[str, ...] = ()
    seed: int = Field(42, ge=0, le=2**31 - 1)
    pbs: Recipe = Recipe()
    ps: Recipe = Recipe(learning_rate=3e-4)
    joint: JointRecipe = JointRecipe()
    example_gen: ExampleGenSection = ExampleGenSection()
    transform: TransformSection = TransformSection()
    supervision: SupervisionSection = SupervisionSection()
    model: ModelSection = ModelSection()
    trainer: TrainerSection = TrainerSection()
    evaluator: EvaluatorSection = EvaluatorSection()
    export: ExportSection = ExportSection()
    infra_validator: InfraValidatorSection = InfraValidatorSection()
    pusher: PusherSection = PusherSection()

    def recipe(self, dataset: str) -> Recipe:
        """Give the part that belongs to ``pbs``, ``ps`` or ``pbs+ps``."""
        recipe: Recipe = self.joint if dataset == JOINT else getattr(self, dataset)
        return recipe

    def to_yaml(self) -> str:
        """Give the text that ``load`` reads back to an equal configuration."""
        return str(yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True))
