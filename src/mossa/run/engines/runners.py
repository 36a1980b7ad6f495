"""Which runs work in a run folder (one alone, or shards on any number of machines), and which of them has which unit.

Each runner keeps a card in `.runners` and touches it every few seconds. On its own machine the system tells whether it
lives: it holds a lock on its card. Elsewhere the touches tell: a runner is lost once *the observer* has seen its card
stand still for `LEASE` seconds by the observer's own monotonic clock. What time a card shows does not matter, only that
it changes, so no two clocks are ever compared.

A claim on a unit is a hard link `.claims/<unit>` to the card of who has it. Only one runner can make the link, also
over NFS. A claim only saves time: results are right because units land by one atomic rename. If two runners take over
the claim of a lost one at the same moment, both may do the unit, and the second to finish finds it done.
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
from dataclasses import asdict, dataclass
from pathlib import Path

from mossa.errors import RunFolderError
from mossa.store.folder import RunFolder

BEAT = 5.0  # seconds between two touches
LEASE = 60.0  # seconds without one after which a runner on another machine is lost
MOMENT = 0.5  # seconds
LOOK = 0.2  # seconds between two looks at who is there


@dataclass(frozen=True, slots=True)
class Card:
    """What a runner tells: its `plan` if others that follow it may join, and the machine where its card is `locked`."""

    token: str
    process: int
    host: str
    plan: str | None
    locked: str

    def __str__(self) -> str:
        return "a run that left a damaged file" if self is DAMAGED else f"process {self.process} on {self.host}"


DAMAGED = Card("damaged", 0, "", None, "")


class Runner:
    """This process in a run folder, visible from the beginning until it leaves, and the units it has claimed there."""

    def __init__(self, run: RunFolder, plan: str | None = None) -> None:
        self.run, self.plan = run, plan
        self.path = run.runners / run.token
        self.claimed: set[str] = set()
        self._seen: dict[Path, tuple[int, float]] = {}
        run.runners.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        locked = _this_machine() if _lock(self._file, fcntl.LOCK_EX) else ""
        card = Card(run.token, os.getpid(), socket.gethostname(), plan, locked)
        os.write(self._file, json.dumps(asdict(card)).encode())
        os.fsync(self._file)
        self._gone = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True)
        self._heart.start()

    def leave(self) -> None:
        """Release every claim and remove the card."""
        self._gone.set()
        self._heart.join()
        for what in list(self.claimed):
            self.release(what)
        self.run.clear_after(self.run.token)  # of workers that had to be ended by force
        self.path.unlink(missing_ok=True)
        os.close(self._file)

    def look(self, path: Path) -> tuple[Card | None, bool | None]:
        """Return whose card `path` is, and whether that runner lives: None if only time can tell."""
        card, beat = DAMAGED, 0
        try:
            with path.open("rb") as file:
                beat = os.fstat(file.fileno()).st_mtime_ns
                card = Card(**json.load(file))
                if card.locked == _this_machine():
                    return card, not _lock(file.fileno(), fcntl.LOCK_SH)
        except FileNotFoundError:
            return None, False
        except (OSError, ValueError, TypeError):
            pass  # being written, or damaged
        now = time.monotonic()
        last, since = self._seen.setdefault(path, (beat, now))
        if beat != last:
            self._seen[path] = beat, now
            return card, True
        return card, None if now - since < LEASE else False

    def take(self, what: str) -> bool:
        """Claim `what`, unless a runner that may still be alive has it; clean up after a lost one."""
        path = self.run.claims / what
        with self.run.writing():
            path.parent.mkdir(parents=True, exist_ok=True)
            while True:
                with contextlib.suppress(FileExistsError):
                    path.hardlink_to(self.path)
                    break
                card, lives = self.look(path)
                if card and card.token == self.run.token:
                    break  # over NFS a link can be made and its answer lost
                if lives is not False:
                    return False
                # A runner that leaves releases its claims first, so one still there after its owner's end is left over.
                if card and self.look(path) == (card, False):
                    path.unlink(missing_ok=True)
                    self.run.clear_after(card.token)
        self.claimed.add(what)
        return True

    def release(self, what: str) -> None:
        """Give up the claim on `what`, if there is one."""
        if what in self.claimed:
            self.claimed.discard(what)
            with contextlib.suppress(OSError):
                (self.run.claims / what).unlink()

    def _beat(self) -> None:
        while not self._gone.wait(BEAT):
            with contextlib.suppress(OSError):  # a server that is away for a moment; the next one may be heard
                os.utime(self._file)


@contextlib.contextmanager
def at_work(run: RunFolder, say: Callable[[str], None], plan: str | None = None) -> Iterator[Runner]:
    """Be at work in `run` for the length of the block: alone, or as one of several that follow the same `plan`.

    A run that is alone removes what lost runners left half done. Raises `RunFolderError` if a run is at work with which
    this one cannot share the folder, or if it cannot be written.
    """
    with run.writing():
        runner = Runner(run, plan)
        try:
            others = _make_sure(runner, say)
            run.prepare()
            if plan is None:
                run.clear(others)
            yield runner
        finally:
            runner.leave()


def _make_sure(runner: Runner, say: Callable[[str], None]) -> list[Path]:
    """Wait until nobody is at work with whom `runner` cannot share the folder; return the cards of the others."""
    run, start, said = runner.run, time.monotonic(), False
    while True:
        others = [path for path in run.runners.glob("[!.]*") if path != runner.path]
        looks = [(card, lives) for card, lives in map(runner.look, others) if card and lives is not False]
        in_the_way = [(card, lives) for card, lives in looks if runner.plan is None or card.plan != runner.plan]
        if not in_the_way:
            return others
        # A program that a killed process had just started keeps its lock until it really runs, and a card that is being
        # written looks damaged. Of two that come at the same moment, one goes and the other waits for that.
        waited = time.monotonic() - start
        for card, lives in in_the_way if waited > MOMENT else []:
            if lives and (card.token < run.token or waited > 3 * MOMENT):
                how = "shards of a run" if card.plan else "another run"
                raise RunFolderError(
                    f"{run.path} is in use by {how} ({card}). Wait for it, or give another folder with --runs. Only "
                    "shards of one unchanged study share a folder: start every one of them with --shard."
                )
            if lives is None and not said:
                say(f"Waiting up to {LEASE:.0f} s to see whether {card} is still at work in {run.path}.")
                said = True
        time.sleep(LOOK)


def _lock(file: int, kind: int) -> bool:
    """Lock an open file until it is closed; False if another holds it, or this file system has no locks."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _this_machine() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id")
    return f"{socket.gethostname()} {boot.read_text().strip() if boot.is_file() else ''}"
