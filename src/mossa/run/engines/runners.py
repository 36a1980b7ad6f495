"""Which runs work in a run folder (one alone, or shards on any number of machines), and which run has which unit.

Each runner keeps a small file in `.runners`: its identity, and a number that grows every few seconds. On one machine
the system tells whether its process lives (it holds a lock on its file). For another machine the number tells: a runner
is lost once *the observer* has seen its number stand still for `LEASE` seconds by the observer's own monotonic clock.
Clocks of two machines are never compared, so it does not matter what time any of them shows.

A claim on a unit is a hard link `.claims/<unit>` to the file of the runner that has it. Only one runner can make the
link, also over NFS, and the link shows whatever the runner's file shows. A claim only saves time: results are correct
because units land by one atomic rename. If two runners take over the same claim of a lost one at the same moment, both
do the unit, and the second to finish finds it done.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mossa.errors import RunFolderError
from mossa.store.folder import RunFolder

BEAT = 5.0  # seconds between two signs of life
LEASE = 60.0  # seconds without one after which a runner on another machine is lost
MOMENT = 1.0  # seconds
DIGITS = 16


@dataclass(frozen=True, slots=True)
class Card:
    """What a runner tells about itself; `plan` is a hash of all units, `locked`: it could lock its file."""

    token: str
    host: str
    boot: str
    process: int
    alone: bool
    plan: str
    locked: bool

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}"


class Observer:
    """Tells which runners are still at work, from what it has seen itself."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, float]] = {}

    def look(self, path: Path) -> tuple[Card | None, bool | None]:
        """Return which runner wrote `path` and whether it lives: None if only time can tell.

        An empty or missing file belongs to a runner that has left.
        """
        try:
            with path.open("rb") as file:
                text = file.read().decode()
                beat, _, content = text.partition("\n")
                if not content:
                    return None, False
                card = Card(**json.loads(content))
                if card.locked and (card.host, card.boot) == _this_machine():
                    return card, _lock(file.fileno(), fcntl.LOCK_SH) is False
        except FileNotFoundError:
            return None, False
        except (OSError, ValueError, TypeError):  # being written, or damaged: as good as silent
            card, beat = None, ""
        last, since = self._seen.get(str(path), (None, 0.0))
        if last != beat:
            self._seen[str(path)] = beat, time.monotonic()
            # A number that has moved is life; the first look alone tells nothing.
            return card, True if last is not None else None
        return card, None if time.monotonic() - since < LEASE else False


class Runner:
    """This process in a run folder, from `arrive` to `leave`, and the units it has claimed there."""

    def __init__(self, run: RunFolder, plan: str, alone: bool) -> None:
        host, boot = _this_machine()
        self.run = run
        self.card = Card(run.token, host, boot, os.getpid(), alone, plan, locked=False)
        self.path = run.runners / run.token
        self.claimed: set[str] = set()
        self._observer = Observer()
        self._gone = threading.Event()

    def arrive(self) -> None:
        """Become visible; from then on every few seconds a sign of life is given."""
        hidden = self.run.scratch()
        self._file = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        card = asdict(replace(self.card, locked=_lock(self._file, fcntl.LOCK_EX) is True))
        os.write(self._file, f"{0:0{DIGITS}}\n{json.dumps(card)}".encode())
        os.fsync(self._file)
        hidden.rename(self.path)  # only now that it is whole and locked can it be seen
        self._heart = threading.Thread(target=self._beat, daemon=True)
        self._heart.start()

    def leave(self) -> None:
        """Release every claim and remove this runner's file."""
        self._gone.set()
        self._heart.join()
        for what in list(self.claimed):
            self.release(what)
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, 0)
        os.close(self._file)
        self.path.unlink(missing_ok=True)
        self.run.clear_after(self.run.token)  # of workers that had to be ended by force

    def take(self, what: str) -> bool:
        """Claim `what`, unless a runner that may still be alive has it; clean up after a lost one."""
        path = self.run.claims / what
        with self.run.writing():
            path.parent.mkdir(parents=True, exist_ok=True)
            while not self._link(path):
                with contextlib.suppress(FileNotFoundError):  # released meanwhile: try again
                    file = path.stat().st_ino
                    card, lives = self._observer.look(path)
                    if lives is not False:
                        return False
                    self._remove(path, file)
                    if card is not None:
                        self.run.clear_after(card.token)
        self.claimed.add(what)
        return True

    def release(self, what: str) -> None:
        """Give up the claim on `what`."""
        self.claimed.discard(what)
        path = self.run.claims / what
        with contextlib.suppress(OSError):
            if path.samefile(self.path):  # else another runner took us for lost, and has it now
                path.unlink()

    @contextlib.contextmanager
    def holding(self, what: str) -> Iterator[None]:
        """Hold the claim on `what` for the length of the block; wait until it is free."""
        while not self.take(what):
            time.sleep(0.5)
        try:
            yield
        finally:
            self.release(what)

    def _remove(self, path: Path, file: int) -> None:
        """Remove the claim of a lost runner, and no other that was made since we looked at `file` (an inode)."""
        old = self.run.scratch()
        path.rename(old)
        if old.stat().st_ino != file:
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(old)
        old.unlink()

    def _link(self, path: Path) -> bool:
        try:
            path.hardlink_to(self.path)
        except FileExistsError:
            # Over NFS a link can be made and its answer lost; then it exists and is ours.
            with contextlib.suppress(FileNotFoundError):
                return str(path.relative_to(self.run.claims)) not in self.claimed and path.samefile(self.path)
            return False
        return True

    def _beat(self) -> None:
        count = 0
        while not self._gone.wait(BEAT):
            count += 1
            with contextlib.suppress(OSError):  # a server that is away for a moment; the next one may be heard
                os.pwrite(self._file, f"{count:0{DIGITS}}".encode(), 0)
                os.fsync(self._file)


@contextlib.contextmanager
def at_work(run: RunFolder, plan: str, alone: bool, say: Callable[[str], None]) -> Iterator[Runner]:
    """Be at work in `run` for the length of the block: alone, or as one of several that follow the same `plan`.

    A run that is alone removes what lost runners left half done. Raises `RunFolderError` if a run is at work with which
    this one cannot share the folder, or if it cannot be written.
    """
    runner = Runner(run, plan, alone)
    with run.writing():
        run.path.mkdir(parents=True, exist_ok=True)
    with run.writing(), (run.path / ".lock").open("a") as lock:
        # On one machine, and wherever locks work across machines, this alone decides, and at once.
        if not _locked_soon(lock.fileno(), fcntl.LOCK_EX if alone else fcntl.LOCK_SH):
            raise _refusal(run, next((card for card, _ in map(Observer().look, _others(runner)) if card), None))
        runner.arrive()
        try:
            _make_sure(runner, say)
            run.prepare()
            if alone:
                run.clear()
            yield runner
        finally:
            runner.leave()


def _make_sure(runner: Runner, say: Callable[[str], None]) -> None:
    """Wait until it is certain that nobody is at work with whom `runner` cannot share the folder."""
    observer = Observer()
    said = False
    while True:
        unsure: list[Card | None] = []
        for path in _others(runner):
            card, lives = observer.look(path)
            shares = card is not None and not (card.alone or runner.card.alone) and card.plan == runner.card.plan
            if lives and not shares:
                raise _refusal(runner.run, card)
            if lives is None and not shares:
                unsure.append(card)
        if not unsure:
            return
        if not said:
            who = unsure[0] or "a run that left a damaged file"
            say(f"Waiting up to {LEASE:.0f} s to see whether {who} is still at work in {runner.run.path}.")
            said = True
        time.sleep(1)


def _others(runner: Runner) -> list[Path]:
    return [path for path in runner.run.runners.glob("[!.]*") if path != runner.path]


def _refusal(run: RunFolder, card: Card | None) -> RunFolderError:
    how = "by shards of a run" if card and not card.alone else "by another run"
    who = f" ({card})" if card else ""
    return RunFolderError(
        f"{run.path} is in use {how}{who}. Wait for it, or give another folder with --runs. Only shards of one "
        "unchanged study share a folder: start every one of them with --shard."
    )


def _locked_soon(file: int, kind: int) -> bool:
    """Try for a moment: a program that a killed process had just started keeps its lock until it really runs."""
    end = time.monotonic() + MOMENT
    while _lock(file, kind) is False:
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def _lock(file: int, kind: int) -> bool | None:
    """Lock an open file until it is closed; False if another holds it, None if this file system has no locks."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _this_machine() -> tuple[str, str]:
    boot = Path("/proc/sys/kernel/random/boot_id")
    return socket.gethostname(), boot.read_text().strip() if boot.is_file() else ""
