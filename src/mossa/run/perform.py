"""Does one unit and lands it."""

from __future__ import annotations

import re
import resource
import sys
import time
import traceback
from pathlib import Path
from tempfile import TemporaryDirectory

from mossa.errors import DeviceLost, MossaError, RunFolderError, noting
from mossa.models.batches import lost_its_device
from mossa.models.kernels import may_vary, varying
from mossa.run.events import Outcome
from mossa.steps.context import DamagedUnit, StepContext
from mossa.steps.device import gpu_memory
from mossa.steps.job import WHOLE, Share
from mossa.steps.steps import STEPS
from mossa.store.provenance import provenance
from mossa.training.team import TeamLost
from mossa.units.unit import Unit


def perform(unit: Unit, context: StepContext, share: Share = WHOLE, told: tuple[str, ...] = ()) -> Outcome:
    """Do `unit` and land it in the run folder; `told` are notes from an attempt before this one.

    With a `share`, other workers take part: the first of them lands the unit, the others have helped.

    What goes wrong inside the unit is its outcome and is written down; a run folder that cannot be written to is an
    error of the whole run (`RunFolderError`), and a GPU that this process can no longer use is one of the process
    (`DeviceLost`): it must end, and another do the unit.
    """
    if share.rank:
        return _help(unit, context, share)
    start, processor = time.perf_counter(), time.process_time()
    fingerprint = context.marks[unit.id]
    manifest = provenance()
    notes = list(told)
    try:
        with context.run.landing(unit, fingerprint, manifest) as folder:
            context.begin(unit.step)
            with noting(notes.append), context.sharing(share):
                counts = STEPS[unit.step](unit, context, folder)
            counts |= {"halvings_for_want_of_memory": context.allowance.halvings} if context.allowance.halvings else {}
            counts |= {"processes": share.size} if share.size > 1 else {}
            seconds = time.perf_counter() - start
            manifest |= {
                "counts": counts,
                "seconds": round(seconds, 3),
                "processor_seconds": round(time.process_time() - processor, 3),
                "preparation": {
                    clock: round(spent, 3) for clock, spent in context.preparation.items()
                },  # model made ready
                "peak_memory": _peak_memory(),
                **context.size(),
                **gpu_memory(),
            } | ({"notes": notes} if notes else {})
    except DamagedUnit as damage:
        return Outcome(unit.id, "damaged", damage.what, damage.identifier)
    except TeamLost as lost:
        context.detach()
        return Outcome(unit.id, "lost", f"a process that shared it is gone: {lost}")
    except RunFolderError:
        raise
    except Exception as error:
        if lost_its_device(error):
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise DeviceLost(f"{context.device} failed during {unit.title} ({lines[0]})") from error
        if may_vary(error):
            context.detach()
            return perform(unit, context, share, (varying(error),))
        reason = str(error) if isinstance(error, MossaError) else _unexpected(error)
        if not isinstance(error, MossaError):
            context.detach()
    else:
        return Outcome(unit.id, "done", seconds=seconds, counts=counts, notes=tuple(notes))
    context.run.record_failure(unit, fingerprint, reason)
    return Outcome(unit.id, "failed", reason, seconds=time.perf_counter() - start)


def _help(unit: Unit, context: StepContext, share: Share) -> Outcome:
    """Take part in a unit that another worker lands; that one tells what becomes of it."""
    try:
        with TemporaryDirectory() as folder, noting(lambda _: None), context.sharing(share):
            context.begin(unit.step)
            STEPS[unit.step](unit, context, Path(folder))
    except (TeamLost, DamagedUnit, MossaError):
        context.detach()
    except Exception as error:
        if lost_its_device(error):
            raise DeviceLost(f"{context.device} failed during {unit.title} ({error})") from error
        context.detach()
    return Outcome(unit.id, "helped")


def _unexpected(error: Exception) -> str:
    """Return what to say of a bug, of ours or of a library: the study goes on without this unit."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"unexpected {type(error).__name__}: {error} ({where.filename.rsplit('/', 1)[-1]}, line {where.lineno})"


def _peak_memory() -> int:
    """Return the most bytes that this process has held until now.

    On Linux from the program's own account: the system's `ru_maxrss` begins at the size of the process that started it.
    """
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(found[1]) * 1024
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held if sys.platform == "darwin" else held * 1024
