"""What a recipe chooses among: optimizers and losses, each with arguments of its own."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class Section(BaseModel):
    """A frozen part of the configuration; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


class AdamW(Section):
    """Adam with decoupled weight decay."""

    name: Literal["adamw"] = "adamw"
    weight_decay: float = Field(0.01, ge=0)
    beta_1: float = Field(0.9, ge=0, lt=1)
    beta_2: float = Field(0.999, ge=0, lt=1)


class Adam(Section):
    """Adam."""

    name: Literal["adam"] = "adam"
    beta_1: float = Field(0.9, ge=0, lt=1)
    beta_2: float = Field(0.999, ge=0, lt=1)


class Sgd(Section):
    """Stochastic gradient descent with Nesterov momentum."""

    name: Literal["sgd"] = "sgd"
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = True
    weight_decay: float = Field(0.0, ge=0)


class Bce(Section):
    """Binary cross-entropy."""

    name: Literal["bce"] = "bce"


class WeightedBce(Section):
    """Cross-entropy with a weight for background and one for defect: the original experiment's loss."""

    name: Literal["weighted_bce"] = "weighted_bce"
    background_weight: float = Field(0.1, ge=0)
    defect_weight: float = Field(1.0, ge=0)


class Focal(Section):
    """Focal loss; ``alpha`` (defect's share) is off unless given."""

    name: Literal["focal"] = "focal"
    gamma: float = Field(2.0, ge=0)
    alpha: float | None = Field(None, ge=0, le=1)


class Overlap(Section):
    """Soft Dice or Jaccard; ``smooth`` is added above and below the fraction, in pixels."""

    name: Literal["dice", "jaccard"] = "dice"
    smooth: float = Field(1.0, ge=0)


class Tversky(Section):
    """Tversky index: false positives and false negatives weighed apart."""

    name: Literal["tversky"] = "tversky"
    fp_weight: float = Field(0.3, ge=0)
    fn_weight: float = Field(0.7, ge=0)
    smooth: float = Field(1.0, ge=0)


class FocalTversky(Section):
    """Tversky loss to the power ``gamma``."""

    name: Literal["focal_tversky"] = "focal_tversky"
    fp_weight: float = Field(0.3, ge=0)
    fn_weight: float = Field(0.7, ge=0)
    gamma: float = Field(0.75, gt=0)
    smooth: float = Field(1.0, ge=0)


class Lovasz(Section):
    """Lovász hinge, image by image."""

    name: Literal["lovasz"] = "lovasz"


class BceDice(Section):
    """Cross-entropy plus soft Dice."""

    name: Literal["bce_dice"] = "bce_dice"
    bce_weight: float = Field(1.0, ge=0)
    dice_weight: float = Field(1.0, ge=0)
    smooth: float = Field(1.0, ge=0)


def by_name(value: Any) -> Any:
    """Returns ``{"name": value}`` for a text: ``adamw`` is short for an optimizer with its defaults."""
    return {"name": value} if isinstance(value, str) else value


Optimizer = Annotated[AdamW | Adam | Sgd, Field(discriminator="name"), BeforeValidator(by_name)]
Criterion = Annotated[
    Bce | WeightedBce | Focal | Overlap | Tversky | FocalTversky | Lovasz | BceDice,
    Field(discriminator="name"),
    BeforeValidator(by_name),
]
