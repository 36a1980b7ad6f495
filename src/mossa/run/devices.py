"""Which device a run uses, or over which devices one base is spread."""

from __future__ import annotations

from mossa.errors import StudyError, choices


def find_device(device: str) -> str:
    """Return `cpu`, `cuda`, `cuda:i` or several places: what was asked for, and for `auto` the GPU if there is one.

    Raises `StudyError` for a device that is not there.
    """
    import torch

    from mossa.models.placement import is_split, places_of

    gpus = torch.cuda.device_count()
    if is_split(device):
        for place in places_of(device):
            if place not in ("cpu", "disk"):
                find_device(place)
        return device
    known = ["auto", "cpu", *(["cuda"] if gpus else []), *(f"cuda:{number}" for number in range(gpus))]
    if device not in known:
        found = f"{gpus} GPUs" if gpus else "no GPU"
        raise StudyError(f"--device {device}: torch finds {found} here. {choices(device, known)}")
    return ("cuda" if gpus else "cpu") if device == "auto" else device
