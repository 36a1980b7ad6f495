"""Imported by the process from which workers are forked, before they are: everything that they need."""

import gc

from mossa.run.libraries import importing

with importing():
    import mossa.run.perform  # noqa: F401  # pyright: ignore[reportUnusedImport]

gc.freeze()  # so that no worker looks for garbage among what was imported, nor copies the pages it lies on
