"""What an adapter on some layers saves against the same adapter on all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mossa.models.shape import Shape, shape_of
from mossa.study.recipe import Lora
from mossa.study.schema import Base

TRAINED_BYTES = 16  # per trained weight: itself, its gradient and Adam's two moments, in float32


@dataclass(frozen=True, slots=True)
class Saving:
    """The shape with an adapter on `some` layers beside that with it on `every` layer, at one rank."""

    some: Shape
    every: Shape

    def lines(self) -> list[str]:
        """Return what is saved, in words: trained weights, memory, operations of the backward pass."""
        some, every = self.some, self.every
        below = round((1 - some.reach) * some.layers)
        down = backward(some) / backward(every)
        step = (_forward(some) + backward(some)) / (_forward(every) + backward(every))
        return [
            f"trained weights: {some.adapter_weights:,} instead of {every.adapter_weights:,} "
            f"({_less(some.adapter_weights / every.adapter_weights)})",
            f"optimizer, gradients and adapter: {some.adapter_weights * TRAINED_BYTES / 1e6:,.1f} MB instead of "
            f"{every.adapter_weights * TRAINED_BYTES / 1e6:,.1f} MB",
            f"activations kept for the backward pass: {some.kept_per_token / 1e3:,.1f} kB per token instead of "
            f"{every.kept_per_token / 1e3:,.1f} kB ({_less(some.kept_per_token / every.kept_per_token)})",
            f"operations: backward {_less(down)}, a whole step {_less(step)}; "
            + (
                f"the {below} layers below the lowest adapted one need no backward pass"
                if below
                else "the first layer is adapted, so the backward pass goes through all"
            ),
        ]


def saving(base: Base, lora: Lora, layers: Sequence[int]) -> Saving:
    """Return what `lora` on `layers` (from 1) saves against it on all layers; loads no weights."""
    some, every = (lora.model_copy(update={"layers": chosen}) for chosen in (list(layers), None))
    return Saving(shape_of(base, some), shape_of(base, every))


def _forward(shape: Shape) -> float:
    return 2.0 * (shape.block_weights + shape.adapter_weights)


def backward(shape: Shape) -> float:
    """Return the operations per token of the backward pass through blocks and adapter; attention's square apart."""
    return 2.0 * shape.block_weights * shape.reach + 4.0 * shape.adapter_weights


def _less(share: float) -> str:
    return f"{1 - share:.0%} less" if share < 1 else "no less"
