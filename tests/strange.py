"""Values that nobody should trust, and how many of them to try."""

from __future__ import annotations

import json
import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

TIMES = float(os.environ.get("MOSSA_FUZZ", "1"))


def tries(count: int) -> settings:
    """Try `count` inputs, times what the environment asks for."""
    return settings(max_examples=int(count * TIMES), deadline=None, suppress_health_check=list(HealthCheck))


nasty = st.one_of(
    st.sampled_from(
        [
            *(None, True, -1, 0, 1, 2**31, 2**64, 10**4000, float("nan"), float("inf"), -0.0, 1e308, "", " ", "\0"),
            *(
                "../x",
                "/etc/passwd",
                "a/b",
                "..",
                "~",
                "~root",
                "C:\\x",
                "<script>",
                "{prompt}",
                "{0.__class__}",
                "base",
            ),
            *("con", "x" * 5000, "\ud800", "\u202e", "all", "paper", "papr", "!!python/name:os.system", [], {}, [[]]),
            *({"preset": "papr"}, {"steps": 1, "epochs": 1}, [None], {"": {}}, {1: 2}, {None: None}, b"x"),
        ]
    ),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=6,
    ),
)


def as_json(value: Any) -> bytes:
    """Return the value as JSON, or the longest number where it has none."""
    try:
        return json.dumps(value, default=str, skipkeys=True).encode()
    except ValueError:  # a number that Python does not write
        return b"1" * 6000
