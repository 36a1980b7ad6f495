"""The cost of a study as lines of text."""

from __future__ import annotations

from collections.abc import Iterator

from mossa.cost.estimate import CostEstimate, fitting_gpus
from mossa.cost.schedule import longest_chain, makespan

GPU_COUNTS = (1, 8, 64, 512)
TEAMS = (2, 4, 8)  # workers that may share a training
WORTH_TELLING = 0.95  # of the time without
ALWAYS_SHORT = {"describe"}


def lines(found: CostEstimate, workers: int) -> Iterator[str]:
    """Yield the lines: work per step, time, memory, disk, what less would cost, and what more workers would bring."""
    if not found.todo:
        yield "This study is finished: a run would do nothing. What it took or would take again:"
    yield from _work(found)
    yield ""
    yield from _time(found, workers)
    yield from _room(found, workers)
    yield ""
    total = sum(found.seconds.values())
    yield "The same for less, in worker time:"
    for label, seconds in found.smaller:
        yield f"  {label:40}{duration(seconds):>12}  {seconds / total:5.0%}" if total else f"  {label}"
    yield ""
    yield from _scaling(found)


def duration(seconds: float) -> str:
    """Return a span of time in words: 3.2 hours."""
    for size, unit in ((86400 * 3, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= size * 1.5:
            return f"{seconds / (86400 if unit == 'days' else size):,.1f} {unit}"
    return f"{seconds:,.1f} seconds"


def _work(found: CostEstimate) -> Iterator[str]:
    counted = f"{'tokens':>16}{'with filling':>16}{'per token':>11}{'Tflop':>14}"
    yield f"{'step':12}{'units':>7}{'to do':>7}{counted}{'time':>16}"
    todo = set(found.todo)
    for step in dict.fromkeys(unit.step for unit in found.units.values()):
        names = [name for name, unit in found.units.items() if unit.step == step]
        works = [found.works[name] for name in names]
        tokens, padded = sum(work.tokens for work in works), sum(work.padded for work in works)
        flop = sum(work.operations + work.products for work in works) / 1e12
        time = "not known" if step in found.unknown and step not in ALWAYS_SHORT else ""
        time = time or duration(sum(found.seconds[name] for name in names))
        yield (
            f"{step:12}{len(names):>7}{len(todo & set(names)):>7}"
            + "".join(f"{count:>16,}" if count else f"{'':16}" for count in (tokens, padded))
            + (f"{padded / tokens:>11.2f}" if tokens else f"{'':11}")
            + (f"{flop:>14,.4g}" if flop else f"{'':14}")
            + f"{time:>16}"
        )
    if any("until" in unit.settings.get("budget", {}) for unit in found.units.values()):
        yield "Trainings that wait for a criterion are counted to their limit."


def _time(found: CostEstimate, workers: int) -> Iterator[str]:
    total = sum(found.seconds.values())
    left = sum(found.seconds[name] for name in found.todo)
    what = "GPU-hours" if found.gpu else "processor-hours of one worker"
    yield f"{total / 3600:,.2f} {what} in all, {left / 3600:,.2f} still to do; rate: {found.rates.source}."
    seconds = makespan(found.units, found.todo, found.seconds, workers)
    yield f"With {workers} worker{'s' if workers > 1 else ''}: {duration(seconds)} until the last unit is done."


def _room(found: CostEstimate, workers: int) -> Iterator[str]:
    need = found.need
    if found.gpu:
        room = 0.95e9 * found.gpu.memory
        verdict = "."
        if need.device > room:
            verdict = (
                f": batches are halved until they fit (one sequence alone needs {need.device_least / 1e9:,.1f} GB)."
            )
        if need.device_least > room:
            verdict = f": it does not fit, not even one sequence alone ({need.device_least / 1e9:,.1f} GB)."
        yield (
            f"GPU memory: {need.device / 1e9:,.1f} GB at most ({need.device_step}), of {found.gpu.memory:,.0f} GB"
            + verdict
        )
        if need.device_least > room:
            others = ", ".join(fitting_gpus(found)) or "none of the table"
            yield (
                "  How to fix it: set recipe.gradient_checkpointing: auto, base.dtype: bfloat16, base.quantise: 4-bit, "
                f"a lower prompt.cutoff, or a GPU with more memory (here: {others})."
            )
    yield (
        f"Main memory: {need.main / 1e9:,.1f} GB at most ({need.main_step}) for each of {workers} "
        f"worker{'s' if workers > 1 else ''}. Disk: {found.bytes() / 1e9:,.3f} GB of adapters and representations."
    )


def _scaling(found: CostEstimate) -> Iterator[str]:
    """Yield what more workers bring for the whole study, and the chain of units that no number of them shortens."""
    total = sum(found.seconds.values())
    everything = list(found.units)
    chain, names = longest_chain(found.units, everything, found.seconds)
    if not total:
        return
    yield "On paper, the whole study on"
    for count in GPU_COUNTS:
        seconds = makespan(found.units, everything, found.seconds, count)
        share = total / seconds / count
        what = f"  {count:>4} worker{'s' if count > 1 else ' '} {duration(seconds):>14}, {share:5.0%} of each used"
        yield what + _shared(found, everything, seconds, count)
    longest = max(names, key=lambda name: found.seconds[name])
    limit = max(1, round(total / chain))
    yield (
        f"Beyond about {limit} workers nothing is gained: {' → '.join(found.units[name].title for name in names)} wait "
        f"for each other and take {duration(chain)}, of which {found.units[longest].title} "
        f"{duration(found.seconds[longest])}."
    )
    if found.units[longest].step == "train" and found.units[longest].settings.get("role") == "experimental":
        yield (
            "Workers that share that mixture (mossa run --data-parallel), or a smaller budget or cap_per_cluster for "
            "it, move this limit; more GPUs alone do not."
        )


def _shared(found: CostEstimate, todo: list[str], seconds: float, workers: int) -> str:
    """Return what it brings if workers share each training of a mixture, where that is worth telling."""
    teams = [size for size in TEAMS if size <= workers]
    if not teams:
        return ""
    best, size = min((makespan(found.units, todo, found.seconds, workers, size), size) for size in teams)
    return f"; with --data-parallel {size}: {duration(best)}" if best < WORTH_TELLING * seconds else ""
