"""Who is at work in a run folder: one run alone, or shards of one run on any number of machines.

Each runner keeps a small file in `.runners`: who it is, and a number that grows every few seconds. Whether its
process lives is asked of the system if it runs on this machine (it holds a lock on its file), and is otherwise told by
that number: a runner is lost once *the observer* has seen it stand still for `LEASE` seconds by the observer's own
monotonic clock. No two clocks are ever compared, so it does not matter what time any machine thinks it is.
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
        """Return who `path` speaks of and whether that one lives: None if only time can tell.

        A file that is empty or gone speaks of nobody: its runner has left, or has let go.
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
    """This process's own presence in a run folder, from `arrive` to `leave`."""

    def __init__(self, run: RunFolder, plan: str, alone: bool) -> None:
        host, boot = _this_machine()
        self.run = run
        self.card = Card(run.token, host, boot, os.getpid(), alone, plan, locked=False)
        self.path = run.runners / run.token
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
        """Be gone, and let go of everything claimed: the claims are links to this file, and all become empty."""
        self._gone.set()
        self._heart.join()
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, 0)
        os.close(self._file)
        self.path.unlink(missing_ok=True)
        self.run.clear_after(self.run.token)  # of workers that had to be ended by force

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

    Who comes alone removes what lost runners left half done. Raises `RunFolderError` if somebody is at work with whom
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
            who = unsure[0] or "somebody who left a damaged file"
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
