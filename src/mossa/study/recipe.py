"""How a model is trained: the adapter, the budget, the optimizer; and the recipes that have a name."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from mossa.study.settings import Count, Positive, Settings, Share

RECIPES: dict[str, dict[str, Any]] = {
    # Section 4 and appendix of the paper; max_gradient_norm is what the authors' trainer does by default.
    "paper": {
        "lora": {"rank": 8, "alpha": 16, "dropout": 0.0, "targets": ["q_proj", "v_proj"]},
        "learning_rate": 5e-5,
        "schedule": "cosine",
        "warmup": 0.0,
        "weight_decay": 0.0,
        "batch_size": 16,
        "max_gradient_norm": 1.0,
        "gradient_checkpointing": "auto",
        "budget": {"epochs": 3},
    },
    # Models of a few million parameters: every linear layer, a higher rank and rate; elsewhere too much.
    "small": {
        "lora": {"rank": 16, "alpha": 32, "targets": "all-linear"},
        "learning_rate": 1e-3,
        "budget": {"steps": 300},
    },
}


class Lora(Settings):
    """The low-rank adapter that training adds (PEFT's LoRA)."""

    rank: Count = Field(default=8, description="rank r")
    alpha: Positive = Field(default=16, description="scale: updates are multiplied by alpha / rank")
    dropout: Share = Field(default=0.0, description="dropout on the adapter's input")
    targets: Literal["auto", "all-linear"] | list[str] = Field(
        default="auto", description="auto (what PEFT knows for the architecture), all-linear, or module names"
    )
    layers: list[Annotated[int, Field(ge=1)]] | None = Field(
        default=None, min_length=1, description="adapt these layers alone, counted from 1; default: all"
    )

    @field_validator("layers")
    @classmethod
    def _each_once(cls, layers: list[int] | None) -> list[int] | None:
        if layers is not None and len(set(layers)) != len(layers):
            raise ValueError(f"the layers {layers} repeat one; name each once")
        return layers and sorted(layers)


class Until(Settings):
    """Train until a criterion on the validation examples is met."""

    metric: Literal["loss", "exact_match"] = Field(
        description="loss in nats per target token, or share of examples whose every target token is right"
    )
    value: float = Field(allow_inf_nan=False, description="loss (nats per target token) at most, or share at least")
    at_most_steps: Count = Field(description="stop here if the criterion is not met")
    check_every: Count = Field(default=25, description="optimizer steps between two looks at the validation examples")


class Budget(Settings):
    """How long to train: exactly one of epochs, steps, target_tokens, until."""

    epochs: Positive | None = Field(default=None, description="passes over the training examples")
    steps: Count | None = Field(default=None, description="optimizer steps")
    target_tokens: Count | None = Field(default=None, description="tokens of answers learned from, over all steps")
    until: Until | None = Field(default=None, description="train until a criterion is met")

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [name for name in ("epochs", "steps", "target_tokens", "until") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"give exactly one of epochs, steps, target_tokens, until (here: {', '.join(given) or 'none'})"
            )
        return self


class Recipe(Settings):
    """How an adapter is trained."""

    lora: Lora = Field(default=Lora(), description="the low-rank adapter that training adds")
    learning_rate: Positive = Field(default=2e-4, description="the highest, after warm-up")
    schedule: Literal["cosine", "linear", "constant"] = Field(
        default="cosine", description="how the learning rate falls after warm-up"
    )
    warmup: Share = Field(default=0.03, description="share of the steps in which the learning rate rises")
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=0.0, description="AdamW's weight decay, on the adapter's weights"
    )
    batch_size: Count = Field(default=16, description="examples per optimizer step")
    max_gradient_norm: Positive | None = Field(default=1.0, description="clip the gradient to this norm")
    budget: Budget = Field(default=Budget(epochs=3), description="how long to train")
    gradient_checkpointing: bool | Literal["auto"] = Field(
        default=False, description="less memory, a third more time, the same gradient; auto: where memory is short"
    )
    checkpoint_every: Count | None = Field(
        default=None,
        description="optimizer steps between two resumable checkpoints; default: about every two minutes of work",
    )
