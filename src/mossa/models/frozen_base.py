"""What a model in training was tuned from, beside it in memory."""

from __future__ import annotations

import copy
from typing import Any

from peft import PeftModel


def base_of(model: Any) -> Any:
    """Return a model without its adapters, frozen and in evaluation mode; `model` itself is not touched.

    Weights that are not trained are shared with it, so beside an adapter this needs no memory to speak of; those that
    are trained are copied as they are now. At the start of a training that is less than the optimizer will need.
    """
    frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
    twin = copy.deepcopy(model, {id(parameter): parameter for parameter in frozen})
    base: Any = twin.unload() if isinstance(twin, PeftModel) else twin
    if hasattr(base, "peft_config"):
        del base.peft_config  # PEFT leaves its mark, and warns about it when the next adapter comes
    return base.requires_grad_(False).eval()
