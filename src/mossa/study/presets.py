"""Named recipes."""

from __future__ import annotations

from typing import Any

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
