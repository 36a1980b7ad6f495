"""The study file as a schema: every field, its default and what it means; unknown keys are refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from mossa.errors import MossaError
from mossa.names import check_name
from mossa.study.data import Fields as Fields
from mossa.study.data import Tasks as Tasks
from mossa.study.recipe import RECIPES, Budget, Recipe
from mossa.study.settings import Count, Seed, Settings

BASE = "pretrained"  # the name of the base among the experimental models and in every table
Kind = Literal["base", "adapter", "checkpoint"]
TEMPLATES = ("auto", "chat", "plain", "llama2")  # templates with a name; any other text must hold {prompt} once


class Base(Settings):
    """The pre-trained model that everything starts from."""

    model: str = Field(
        description="Hugging Face hub id, a folder with config.json and *.safetensors, a GGUF file, or package:NAME"
    )
    revision: str | None = Field(default=None, description="branch, tag or commit on the hub")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        default="float32",
        description="number format of the frozen weights; auto: bfloat16 for a large base on hardware fast at it",
    )
    quantise: Literal["4-bit", "8-bit"] | None = Field(
        default=None, description="hold the frozen weights in 4 bits (NF4) or 8 (LLM.int8); needs bitsandbytes"
    )
    trust_remote_code: bool = Field(default=False, description="run Python code that comes with the model")


class Prompt(Settings):
    """How a prompt becomes tokens; every prompt ends in the same tokens."""

    template: str = Field(
        default="auto",
        description="auto (the tokenizer's chat template, else plain), chat, plain, llama2, "
        "or your own text with {prompt} in it",
    )
    system: str | None = Field(default=None, description="system message for chat templates that have one")
    cutoff: Annotated[int, Field(ge=8, le=10**15)] | None = Field(
        default=None, description="longest prompt plus target in tokens; default: what the model can take"
    )
    too_long: Literal["skip", "refuse", "shorten-start", "shorten-middle"] = Field(
        default="skip", description="what happens to a prompt that does not fit; its end is never cut"
    )

    @field_validator("template")
    @classmethod
    def _known_or_own(cls, template: str) -> str:
        if template not in TEMPLATES and template.count("{prompt}") != 1:
            raise ValueError(
                f"this is none of {', '.join(TEMPLATES)}, and does not hold {{prompt}} exactly once; write for example "
                "'Question: {prompt}\\nAnswer:'"
            )
        return template


class Existing(Settings):
    """A model that is there already: an adapter in PEFT's format, or a whole checkpoint."""

    adapter: str | None = Field(default=None, description="a PEFT adapter of the base: folder or hub id")
    checkpoint: str | None = Field(default=None, description="a whole model tuned from the base: folder or hub id")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.adapter is None) == (self.checkpoint is None):
            raise ValueError("give one of adapter, checkpoint")
        return self


class Learned(Settings):
    """What counts as having learned a task, measured on its test set."""

    metric: Literal["relative_drop", "loss", "exact_match"] = Field(
        default="relative_drop",
        description="relative_drop: loss below the base's by this share; loss: nats per target token at most; "
        "exact_match: share of examples at least",
    )
    value: float = Field(default=0.05, allow_inf_nan=False, description="the bar, in the unit of the metric")


class Control(Settings):
    """The control models: one per task and seed, trained on that task alone."""

    seeds: list[Seed] = Field(
        default=[0], min_length=1, description="two seeds or more show how far two controls agree"
    )
    budget: Budget | None = Field(default=None, description="default: the recipe's budget")
    existing: dict[str, list[Existing]] = Field(
        default={}, description="task -> control models that are there already, one per seed, instead of training them"
    )

    sham: bool = Field(
        default=False,
        description="also train, per task, a control on the same prompts with shuffled answers and as many steps",
    )
    learned: Learned | None = Field(
        default=None, description="what counts as learned; default: the budget's own criterion, else 5 % less loss"
    )

    @field_validator("existing", mode="before")
    @classmethod
    def _one_is_a_list(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {task: [found] if isinstance(found, dict) else found for task, found in given.items()}

    @model_validator(mode="after")
    def _one_per_seed(self) -> Self:
        if self.sham and self.existing:
            raise ValueError(
                f"sham needs to know how long each control was trained, and those of {', '.join(self.existing)} are "
                "there already; leave out sham, or existing"
            )
        for task, found in self.existing.items():
            if len(found) != len(self.seeds):
                raise ValueError(
                    f"existing.{task} has {len(found)} models and seeds {len(self.seeds)}; give one model per seed"
                )
        return self

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) != len(seeds):
            raise ValueError(f"the seeds {seeds} repeat one; training the same control twice tells nothing new")
        return seeds


class Experimental(Settings):
    """An experimental model: a mixture to tune on, or something that exists already."""

    base: bool = Field(default=False, description="the pre-trained model itself; written short as `pretrained: base`")
    mixture: Literal["all"] | list[str] | None = Field(
        default=None, description="all, or the names of tasks and clusters"
    )
    hold_out: list[str] = Field(default=[], description="tasks and clusters left out of the mixture")
    cap_per_cluster: Count | None = Field(
        default=None, description="at most this many training examples per task cluster"
    )
    seed: Seed = Field(default=0, description="seed of the mixture's order and of the adapter's first weights")
    budget: Budget | None = Field(default=None, description="default: the recipe's budget")
    adapter: str | None = Field(default=None, description="an existing PEFT adapter: folder or hub id")
    checkpoint: str | None = Field(default=None, description="an existing fine-tuned model: folder or hub id")
    saw: Literal["all"] | list[str] = Field(
        default="all",
        description="for adapter and checkpoint: the tasks it was tuned on (the others count as held out)",
    )

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, data: Any) -> Any:
        if isinstance(data, str) and data != "base":
            raise ValueError("write 'base' for the pre-trained model itself, or, for example, {mixture: all}")
        return {"base": True} if data == "base" else data

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [name for name in ("base", "mixture", "adapter", "checkpoint") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(
                f"give exactly one of base, mixture, adapter, checkpoint (here: {', '.join(given) or 'none'})"
            )
        if self.mixture is None and (self.hold_out or self.cap_per_cluster or self.budget):
            raise ValueError(
                "hold_out, cap_per_cluster and budget belong to a mixture; an existing model is used unchanged"
            )
        return self


class Representations(Settings):
    """Which hidden states are compared."""

    last_layer: Literal["normed", "raw"] = Field(
        default="normed", description="normed: hidden_states[L] of Hugging Face, after the final norm; raw: before it"
    )
    dtype: Literal["base", "float32"] = Field(
        default="base",
        description="number format in which they are computed; bfloat16 rounds away what differs little",
    )


class Similarity(Settings):
    """How representations are compared."""

    estimators: list[str] | None = Field(
        default=None,
        min_length=1,
        description="ids from the similarity registry; default: cka-linear, cka-linear-debiased and, for tasks whose "
        "examples name their templates, cka-linear-within-debiased",
    )
    shift: bool = Field(default=True, description="also compare the changes from the base")
    other_controls: Annotated[int, Field(ge=0, le=10**15)] = Field(
        default=2,
        description="controls of other tasks to compare with (not a null: they hardly move on these prompts); 0: none",
    )
    seed: Seed = Field(default=0, description="seed that draws the other controls")
    affinity: bool = Field(
        default=False, description="also compare every control with every other on common prompts (quadratic in tasks)"
    )

    def chosen(self, templates: bool) -> list[str]:
        """Return the estimators for a task; `templates` tells whether all of its examples name theirs."""
        return self.estimators or ["cka-linear", "cka-linear-debiased", *(["cka-linear-within-debiased"] * templates)]


class StudySettings(Settings):
    """A whole study."""

    name: str = Field(description="names the run folder")
    base: Base = Field(description="the pre-trained model that everything starts from")
    prompt: Prompt = Field(default=Prompt(), description="how a prompt becomes tokens")
    tasks: Tasks = Field(description="the tasks, their clusters and the size of their splits")
    recipe: Recipe = Field(default=Recipe(), description="how adapters are trained")
    control: Control = Field(default=Control(), description="the control models: one per task and seed")
    experimental: dict[str, Experimental] = Field(
        default_factory=lambda: {BASE: Experimental(base=True), "sft": Experimental(mixture="all")},
        min_length=1,
        description="name -> base, a mixture, an adapter or a checkpoint",
    )
    representations: Representations = Field(default=Representations(), description="which hidden states are compared")
    similarity: Similarity = Field(default=Similarity(), description="how representations are compared")
    place: bool | None = Field(
        default=None,
        description="read in which layers each experimental model acts, on every task; default: where that takes less "
        "than a fifth of the study's work",
    )

    @property
    def bar(self) -> tuple[Learned, bool]:
        """Return what counts as having learned a task, and whether it is the criterion of the controls' budget."""
        until = (self.control.budget or self.recipe.budget).until
        if self.control.learned or until is None:
            return self.control.learned or Learned(), False
        return Learned(metric=until.metric, value=until.value), True

    @property
    def represented_in(self) -> str:
        """Return the number format in which representations are computed."""
        return self.base.dtype if self.representations.dtype == "base" else self.representations.dtype

    @property
    def one_pass(self) -> bool:
        """Tell whether models are represented as they answer, so that one pass over the test set serves both."""
        return self.represented_in == self.base.dtype

    @model_validator(mode="before")
    @classmethod
    def _apply_preset(cls, data: Any) -> Any:
        recipe = data.get("recipe") if isinstance(data, dict) else None
        if isinstance(recipe, str):
            recipe = {"preset": recipe}
        if isinstance(recipe, dict) and "preset" in recipe:
            given = dict(recipe)
            preset = str(given.pop("preset"))
            if preset not in RECIPES:
                raise ValueError(f"recipe: there is no preset {preset!r}; the choices are: {', '.join(RECIPES)}")
            return {**data, "recipe": _merged(RECIPES[preset], given)}
        return data

    @model_validator(mode="after")
    def _weights_that_float32_can_hold(self) -> Self:
        if self.base.quantise and self.representations.dtype == "float32" and self.base.dtype != "float32":
            raise ValueError(
                "representations.dtype: float32 cannot be combined with base.quantise, whose weights are packed; "
                "set representations.dtype: base, or base.dtype: float32"
            )
        return self

    @field_validator("name")
    @classmethod
    def _safe(cls, name: str) -> str:
        return _checked(name, "study")

    @field_validator("experimental")
    @classmethod
    def _safe_names(cls, models: dict[str, Any]) -> dict[str, Any]:
        lowered: dict[str, str] = {}
        for name in models:
            _checked(name, "experimental model")
            if name in ("control", "sham") or name.startswith(("control-", "sham-")):
                raise ValueError(f"{name!r}: names that begin with 'control' or 'sham' are kept for control models")
            if models[name].base != (name == BASE):
                raise ValueError(
                    f"{name!r}: the pre-trained model itself is written `{BASE}: base`, and nothing else is"
                )
            if name.lower() in lowered:
                raise ValueError(f"{name!r} and {lowered[name.lower()]!r} differ only in case; rename one")
            lowered[name.lower()] = name
        return models


def _checked(name: str, what: str) -> str:
    try:
        return check_name(name, what, "name")
    except MossaError as error:
        raise ValueError(str(error)) from error


def _merged(defaults: Any, given: dict[str, Any]) -> dict[str, Any]:
    merged = dict(defaults)
    for key, value in given.items():
        old = merged.get(key)
        # A budget is one choice, not a set of fields: what the study gives replaces the preset's.
        nested = isinstance(old, dict) and isinstance(value, dict) and key != "budget"
        merged[key] = _merged(old, value) if nested else value
    return merged
