"""The sections of the configuration, one a component; defaults stand only here."""

from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, model_validator

from pipe_seg.config.choices import AdamW, BceDice, Criterion, Optimizer, Section
from pipe_seg.schema import JOINT


def field(default: Any, description: str, **constraints: Any) -> Any:
    """Declares a field with the description that ``config show`` prints."""
    return Field(default, description=description, **constraints)


def locked(default: Any, why: str, description: str, **constraints: Any) -> Any:
    """Declares a field marked *do not touch*; ``why`` is shown to whoever tries to change it."""
    return Field(default, description=description, json_schema_extra={"locked": why}, **constraints)


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


class DatasetSection(Section):
    """The settings of the experiment for one dataset."""

    epochs: int = field(30, "How often the training frames are seen.", ge=1, le=100_000)
    learning_rate: float = field(1e-3, "The rate after the warm-up.", gt=0, le=10)
    batch_size: int = field(8, "Images a step, over all devices.", ge=1, le=4096)
    optimizer: Optimizer = field(AdamW(), "adamw, adam or sgd, with its arguments.")
    criterion: Criterion = field(BceDice(), "The loss of labelled pixels, with its arguments.")


class JointSection(DatasetSection):
    """The settings for PBS and PS together."""

    batch_size: int = field(8, "Images a step, over all devices; at least one of each dataset.", ge=2, le=4096)

    ps_share: float = field(0.4, "Share of every batch that is frames with contours.", gt=0, lt=1)


class ExampleGenSection(Section):
    """Raw folders → TFDS."""

    data_dir: str | None = field(None, "Where datasets are kept; by default TFDS_DATA_DIR or ~/tensorflow_datasets.")
    on_bad: Literal["fail", "skip"] = field("fail", "Stop at frames that cannot be used, or leave them out.")
    max_bad: str = field(
        "0",
        "How many frames `skip` may leave out: a number, or a share such as 1%.",
        pattern=r"^(\d{1,9}|\d{1,3}(\.\d{1,6})?%)$",
    )
    beam: tuple[Annotated[str, Field(pattern=r"^[a-z_]+(=.*)?$")], ...] = field(
        (), "Options of Beam, such as runner=DirectRunner; empty to build in this process."
    )


SHARED_SIZE = "the network, its batches and the exported graph share it"


class TransformSection(Section):
    """Examples → batches."""

    image_height_px: int = locked(256, SHARED_SIZE, "Height that frames are fitted into.", ge=16, le=4096)
    image_width_px: int = locked(320, SHARED_SIZE, "Width that frames are fitted into.", ge=16, le=4096)
    augment: bool = field(True, "Change geometry and light of training frames at random.")
    cache: bool = field(True, "Keep fitted frames in memory; off, they are decoded again every epoch.")


USUAL_FILL = {
    "deformation": 0.4,
    "obstacle": 0.45,
    "rupture": 0.4,
    "disconnect": 0.2,
    "misalignment": 0.2,
    "deposition": 0.5,
}


class SupervisionSection(Section):
    """What boxes teach."""

    boxes: Literal["filled", "routed"] = field(
        "routed", "filled: every pixel of a box is defect; routed: boxes of thin defects only bound them."
    )
    fill_threshold: float = field(
        0.3, "Boxes of classes that fill less than this share only bound the defect.", ge=0, le=1.01
    )
    fill_rates: dict[str, float] = field(USUAL_FILL, "Share of a box that is defect, where no contour tells.")
    measure_fill: bool = field(True, "Measure these shares on the training contours, where there are any.")
    edge_band: float = field(0.06, "Share of a box's side that is ignored on both sides of its edge.", ge=0, le=0.5)
    edge_band_px: float = field(1.0, "Least width of that band, in pixels of the network.", ge=0)
    tightness_weight: float = field(1.0, "Weight of: each row and column of a box meets the defect.", ge=0)
    fill_weight: float = field(1.0, "Weight of: the likeliest pixels, as many as usual, are defect.", ge=0)
    fill_tolerance: float = field(0.3, "Share of the usual fill that is left open.", ge=0, le=1)
    seen_share: float = field(0.8, "Boxes of which less is in view have no fill term.", ge=0, le=1)
    box_weight: float = field(1.0, "What a frame with boxes counts beside one with contours.", ge=0)
    shape_prior_weight: float = field(
        0.0, "Logits by which pixels half a box side away from the usual place are less likely.", ge=0, le=8
    )


class ModelSection(Section):
    """The network."""

    encoder: Literal["plain", "residual", "efficientnet_lite0", "efficientnetv2b0", "mobilenetv2", "resnet50v2"] = (
        locked("plain", "weights of one encoder do not fit the other", "plain and residual start from nothing.")
    )
    weights: str = field("imagenet", "What the other encoders start from: imagenet, a file, or none.", min_length=1)
    width: int = locked(32, "weights of one width do not fit another", "Channels of the finest level.", ge=1, le=512)
    depth: int = locked(4, "weights of one depth do not fit another", "Levels of plain and residual.", ge=1, le=7)
    norm: Literal["batch", "group"] = locked(
        "batch", "weights of one normalisation do not fit the other", "Normalisation of plain, residual and decoder."
    )
    dropout: float = locked(
        0.1, "measured together with width and depth", "Share of channels dropped before the decoder.", ge=0, lt=1
    )


class TrainerSection(Section):
    """Examples → a trained model."""

    keep: Literal["best", "last"] = field(
        "best", "best: validation IoU chooses the epoch and may end training; last: it chooses nothing."
    )
    strategy: Literal["auto", "one", "mirrored", "multiworker"] = field("auto", "Which devices train together.")
    precision: Literal["auto", "float32", "bfloat16"] = field("auto", "auto: bfloat16 where the processor has it.")
    deterministic: bool = field(True, "The same seed gives the same weights on the same machine.")
    schedule: Literal["cosine", "constant"] = field("cosine", "How the learning rate changes after the warm-up.")
    warmup_share: float = field(0.05, "Share of the steps over which the rate rises.", ge=0, lt=1)
    final_rate_share: float = field(0.01, "What is left of the rate at the end of a cosine.", ge=0, le=1)
    ema_momentum: float = field(0.99, "Momentum of the moving average of the weights, which is kept.", ge=0, lt=1)
    gradient_clip_norm: float = field(1.0, "Greatest norm of a step's gradient.", gt=0)
    early_stopping_epochs: int = field(15, "Epochs without a better validation IoU that end training.", ge=1)
    steps_per_call: int = field(8, "Steps between two looks at signals and checkpoints.", ge=1)
    accumulate: int = field(1, "In how many parts a batch is computed, for less memory.", ge=1, le=4096)
    checkpoint_every_s: float = field(300, "At most this much work is lost; 0 saves after every call.", ge=0)
    checkpoints_kept: int = field(2, "How many checkpoints are kept.", ge=2, le=100)
    skipped_steps: int = field(3, "Steps in a row that may be not finite before going back to a checkpoint.", ge=1)
    memory_gib: float | None = field(None, "What --batch-size auto may fill; by default all free memory.", gt=0)

    @property
    def chooses(self) -> bool:
        """Whether validation chooses the epoch and may end training early."""
        return self.keep == "best"


Threshold = Annotated[float | Literal["auto"], BeforeValidator(_threshold)]


Share = Annotated[float, Field(gt=0, le=1)]


class CropperSection(Section):
    """Contours → one image for each box."""

    margin: float = field(0.25, "What is added on each side, as a share of the box.", ge=0, le=1)


class RefinerSection(Section):
    """Boxes and models → contours inside boxes."""

    tightness: float = field(0.3, "Least IoU of a box and the bounding box of the pixels found.", ge=0, le=1)
    agreement: float = field(0.5, "Least IoU of two models, or of one model's pixels at two levels.", ge=0, le=1)
    threshold: float | None = field(
        None, "Probability from which a pixel counts; by default each model's own.", gt=0, lt=1
    )


class EvaluatorSection(Section):
    """The exported model → scores."""

    threshold: Threshold = field("auto", "auto: the model's own, which validation chose.")
    empty: Literal["skip", "one", "zero"] = locked(
        "skip",
        "scores with another rule for empty frames cannot be compared",
        "What a clean frame counts that is predicted clean.",
    )
    bootstrap_draws: int = field(2000, "Draws of the bootstrap over scenes.", ge=10)
    minimum_iou: float = field(0.3, "Least IoU of a blessed model.", ge=0, le=1)
    min_scenes: int = locked(
        5, "fewer scenes have no interval to speak of", "Fewer scenes give no interval and no blessing.", ge=2
    )
    min_component_area_px: int = field(64, "Smaller components on a clean frame are no false alarm.", ge=0)
    recalls: tuple[Share, ...] = field(
        (0.5, 0.7, 0.8, 0.9, 0.95), "Shares of the defect's pixels that the report gives the precision for."
    )


class ExportSection(Section):
    """The model → a SavedModel."""

    precision: Literal["auto", "float32", "bfloat16"] = field("auto", "auto: bfloat16 where the processor has it.")
    flip: bool = field(True, "Average the predictions for the frame and its mirror image.")
    scale: float = field(
        1.0, "Size of the frames predicted on, relative to training (Touvron et al., arXiv 1906.06423).", ge=0.5, le=4
    )
    min_component_fraction: Annotated[float, Field(ge=0, lt=1)] | Literal["auto"] = field(
        "auto", "Share of the frame under which a connected component is dropped; auto: validation chooses."
    )
    target_recall: float | None = field(
        None, "Choose the highest threshold that finds this share of the defect's pixels, and drop nothing.", gt=0, le=1
    )

    @model_validator(mode="after")
    def _finds(self) -> "ExportSection":
        if self.target_recall and self.min_component_fraction not in (0, "auto"):
            raise ValueError(
                "target_recall: dropped components are not found; min_component_fraction should be auto or 0"
            )
        return self


class InfraValidatorSection(Section):
    """A fresh process loads the SavedModel."""

    frames: int = field(4, "How many frames the model has to answer.", ge=1)
    timeout_s: float = field(180, "Longest wait for the answers.", gt=0)


class PusherSection(Section):
    """A blessed model → a model store."""

    store: str = field("models", "The store that `upload` publishes to.")


class Config(Section):
    """The whole configuration of a run."""

    preset: str = field("default", "The preset that these values are based on.")
    unlocked: tuple[str, ...] = field((), "Locked fields that differ from the preset.")
    seed: int = field(42, "Seed of weights, order and augmentation.", ge=0, le=2**31 - 1)
    pbs: DatasetSection = field(DatasetSection(), "Training on PBS.")
    ps: DatasetSection = field(DatasetSection(learning_rate=3e-4), "Training on PS.")
    joint: JointSection = field(JointSection(), "Training on PBS and PS together.")
    example_gen: ExampleGenSection = field(ExampleGenSection(), "Raw folders → TFDS.")
    transform: TransformSection = field(TransformSection(), "Examples → batches.")
    supervision: SupervisionSection = field(SupervisionSection(), "What boxes teach.")
    model: ModelSection = field(ModelSection(), "The network.")
    trainer: TrainerSection = field(TrainerSection(), "Examples → a trained model.")
    cropper: CropperSection = field(CropperSection(), "Contours → one image for each box.")
    refiner: RefinerSection = field(RefinerSection(), "Boxes and models → contours inside boxes.")
    evaluator: EvaluatorSection = field(EvaluatorSection(), "The exported model → scores.")
    export: ExportSection = field(ExportSection(), "The model → a SavedModel.")
    infra_validator: InfraValidatorSection = field(InfraValidatorSection(), "A fresh process loads the SavedModel.")
    pusher: PusherSection = field(PusherSection(), "A blessed model → a model store.")

    def dataset(self, name: str) -> DatasetSection:
        """Returns the section of ``pbs``, ``ps`` or ``pbs+ps``."""
        section: DatasetSection = self.joint if name == JOINT else getattr(self, name)
        return section

    def to_yaml(self) -> str:
        """Returns the text that ``load`` reads back to an equal configuration."""
        return str(yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True))
