"""The Ray engine: one actor per GPU, or per few cores, anywhere in a cluster; each keeps the base and does units.

The run folder, the base and existing adapters must be reachable by the same paths on every node. Data travel with the
job. Placement, transport and noticing what died are Ray's; which unit is next, and what a death means, are ours.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import ray as ray_library
from ray.exceptions import RayError

from mossa.errors import DeviceLost, MossaError, RunFolderError
from mossa.run.events import Advanced, Event, Outcome, Started
from mossa.run.queue import Queue
from mossa.run.teams import Teams, Worker, check_size
from mossa.run.worker import threads_limited
from mossa.run.worker_failures import MOST_FAILURES, WorkerFailures
from mossa.steps.context import StepContext
from mossa.steps.job import Job, Share
from mossa.store.folder import RunFolder
from mossa.store.provenance import provenance
from mossa.units.unit import Unit

ray: Any = ray_library  # its own annotations know neither concurrency groups nor what an actor's methods take
PATIENCE = 20.0  # seconds that actors have to stop by themselves
LOOK = 1.0  # seconds between two looks at how the units under way go
SLOW_START = 60.0  # seconds without any actor after which the run says so


class Hand:
    """An actor: it keeps the base in memory and does one unit after the other."""

    def __init__(self, job: Job, device: str, threads: int) -> None:
        self.job, self.threads = job, threads
        self.context = StepContext(job, device)
        self.context.on_progress = self._note
        self.at: tuple[Any, ...] | None = None
        self.stopping = False

    def introduce(self) -> tuple[str, dict[str, Any], bool]:
        """Return where it is, the versions of its libraries, and whether it sees the run folder."""
        run = self.job.run
        return ray.util.get_node_ip_address(), provenance()["versions"], (run.runners / run.token).is_file()

    def perform(self, unit: Unit, share: Share) -> Outcome | RunFolderError:
        """Do a unit and land it, or take a share of one."""
        from mossa.run.perform import perform

        self.at = None
        try:
            with threads_limited(self.threads):
                return perform(unit, self.context, share)
        except RunFolderError as error:
            return error
        except DeviceLost as lost:
            print(lost, flush=True)  # Ray shows it; what becomes of the unit is decided where the death is noticed
            os._exit(1)

    def progress(self) -> tuple[Any, ...] | None:
        """Return how far the unit under way is, and its loss if it is a training."""
        return self.at

    def stop(self) -> None:
        """Leave the unit under way at its next step; a training first writes where it stands."""
        self.stopping = True

    def _note(self, *at: Any) -> None:
        self.at = at
        if self.stopping:
            raise SystemExit


class _Member(Worker):
    """An actor as this process sees it: starting, idle, or at work on `unit`."""

    def __init__(self, number: int, start: Callable[[], Any]) -> None:
        self.number, self.start = number, start
        self.failed_starts = 0
        self.begin()

    def begin(self) -> None:
        """Ask Ray for an actor; it may have to wait for a place."""
        self.actor = self.start()
        self.answer: Any = self.actor.introduce.remote()
        self.here = False
        self.forget()
        self.news: Any = None

    @property
    def idle(self) -> bool:
        """Tell whether it has started and has no unit."""
        return self.here and self.unit is None

    def give(self, unit: Unit, share: Share) -> None:
        """Send a unit."""
        self.take(unit, share)
        self.answer = self.actor.perform.remote(unit, share)

    def replace(self) -> Unit | None:
        """Ask for another actor in the place of this one; return the unit that it had."""
        unit = self.unit
        ray.kill(self.actor)
        self.begin()
        return unit


def run_on_ray(
    job: Job,
    queue: Queue,
    address: str | None,
    device: str,
    workers: int | None,
    small: bool,
    on_event: Callable[[Event], None],
    say: Callable[[str], None],
    data_parallel: int = 1,
) -> None:
    """Do all units of `queue` on the Ray cluster at `address`, else the one found, else one started here.

    An actor or node that is lost is replaced, with a message, and its unit done again elsewhere, up to three times; a
    slow node delays only the unit it has. Raises `MossaError` if there is no such cluster, or its nodes do not see the
    run folder or have other versions of the libraries.
    """
    job = replace(job, run=RunFolder(job.run.path.resolve(), job.run.token))
    with _connected(address, say):
        kind, count, threads = _places(device, workers, small)
        check_size(data_parallel, count)
        share = "a GPU" if kind == "cuda" else f"{threads} CPU"
        say(f"Ray: {count} actors with {share} each, on {len(_nodes())} nodes.")
        hand: Any = ray.remote(
            num_cpus=threads, num_gpus=int(kind == "cuda"), max_restarts=0, concurrency_groups={"news": 1}
        )(Hand)
        given = ray.put(job)
        members = [
            _Member(number, lambda: hand.remote(given, kind, threads))
            for number in range(min(count, max(data_parallel, len(queue.todo))))
        ]
        teams = Teams[_Member](queue, data_parallel, job.run.scratch)
        try:
            _work_off(members, teams, WorkerFailures(job, queue, on_event, say), on_event, say)
        finally:
            _let_stop([member for member in members if member.unit is not None])
            for member in members:
                ray.kill(member.actor)


def _let_stop(busy: list[_Member]) -> None:
    """Give actors at work the time to write where their trainings stand."""
    for member in busy:
        member.actor.stop.options(concurrency_group="news").remote()
    if busy:
        ray.wait([member.answer for member in busy], num_returns=len(busy), timeout=PATIENCE)


def _work_off(
    members: list[_Member],
    teams: Teams[_Member],
    failures: WorkerFailures,
    on_event: Callable[[Event], None],
    say: Callable[[str], None],
) -> None:
    started = time.monotonic()
    while teams.queue.todo or any(member.unit for member in members):
        for member, unit, share in teams.give(members):
            member.give(unit, share)
            if share.rank == 0:
                on_event(Started(unit, member.number))
        for member in teams.overdue():
            ray.kill(member.actor)
        expected = {member.answer: member for member in members if member.unit is not None or not member.here}
        ready, _ = ray.wait(list(expected), timeout=LOOK)
        for answer in ready:
            _hear(expected[answer], members, teams, failures)
        for member in members:
            _ask_for_news(member, on_event)
        if started and any(member.here for member in members):
            started = 0.0
        if started and time.monotonic() - started > SLOW_START:
            say(f"Still waiting for a place in the Ray cluster; it has {_resources(ray.available_resources())} free.")
            started = 0.0


def _hear(member: _Member, members: list[_Member], teams: Teams[_Member], failures: WorkerFailures) -> None:
    """Take an actor's answer, or its death; raises `MossaError` that ends the run."""
    try:
        answer = ray.get(member.answer)
    except RayError as error:
        how = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
        if not member.here:
            member.failed_starts += 1
            if member.failed_starts == MOST_FAILURES:
                raise MossaError(f"Ray could not start an actor {MOST_FAILURES} times. {error}") from error
        teams.broken(member, members)
        share = member.share
        if unit := member.replace():
            failures.over(unit, how, share)
        else:
            failures.say(f"An actor was lost before it had a unit ({how}). It is replaced.")
        return
    if isinstance(answer, RunFolderError):
        raise answer
    if isinstance(answer, Outcome):
        unit = member.unit
        assert unit is not None
        member.unit = member.news = None
        failures.settle(answer, unit)
        return
    node, versions, sees = answer
    _check(node, versions, sees, failures.job.run)
    member.here, member.failed_starts = True, 0


def _check(node: str, versions: dict[str, Any], sees: bool, run: RunFolder) -> None:
    if not sees:
        raise MossaError(
            f"Ray node {node} does not see {run.path}. Give a folder that all nodes share, under the same path, with "
            "--runs."
        )
    own = provenance()["versions"]
    if versions != own:
        other = ", ".join(
            f"{name} {versions.get(name)} (here {own[name]})" for name in own if versions.get(name) != own[name]
        )
        raise MossaError(f"Ray node {node} has {other}. Results would differ; install the same versions everywhere.")


def _ask_for_news(member: _Member, on_event: Callable[[Event], None]) -> None:
    """Hear how far the unit is, without ever waiting for an answer."""
    if member.unit is None or member.share.rank:
        return
    if member.news is None:
        member.news = member.actor.progress.options(concurrency_group="news").remote()
        return
    if not ray.wait([member.news], timeout=0)[0]:
        return
    try:
        at = ray.get(member.news)
    except RayError:
        return  # heard where the unit's own answer is waited for
    member.news = None
    if at:
        on_event(Advanced(member.unit.id, *at))


@contextmanager
def _connected(address: str | None, say: Callable[[str], None]) -> Iterator[None]:
    if address and address.startswith("ray://"):
        raise MossaError(f"--address {address}: start mossa on a machine of the cluster, with --address HOST:PORT.")
    if ray.is_initialized():
        yield
        return
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # a cluster started here reports to nobody
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address or "auto", logging_level="WARNING")
    except (ConnectionError, RuntimeError, ValueError) as error:
        if address:
            raise MossaError(f"--address {address}: there is no Ray cluster ({str(error).splitlines()[0]})") from error
        say("No Ray cluster was found; one is started on this machine.")
        ray.init(address="local", include_dashboard=False, logging_level="WARNING")
    signal.signal(signal.SIGTERM, before)  # Ray puts its own in its place
    try:
        yield
    finally:
        ray.shutdown()


def _places(device: str, workers: int | None, small: bool) -> tuple[str, int, int]:
    """Return what the actors compute on (`cuda` or `cpu`), how many there are, and the cores of each."""
    total = ray.cluster_resources()
    gpus = int(total.get("GPU", 0))
    if device not in ("auto", "cpu", "cuda"):
        raise MossaError(f"--device {device}: with --engine ray it is auto, cpu or cuda; Ray assigns the GPUs.")
    if device == "cuda" and not gpus:
        raise MossaError(f"--device cuda: the Ray cluster has no GPU ({_resources(total)}).")
    if gpus and device != "cpu":
        return "cuda", workers or gpus, 1
    smallest = int(min(node["Resources"].get("CPU", 0) for node in _nodes())) or 1
    threads = 1 if small else min(smallest, max(1, int(total.get("CPU", 1) // workers))) if workers else smallest
    return "cpu", workers or max(1, int(total.get("CPU", 1) // threads)), threads


def _nodes() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _resources(found: dict[str, float]) -> str:
    return ", ".join(f"{found.get(name, 0):g} {name}" for name in ("CPU", "GPU"))
