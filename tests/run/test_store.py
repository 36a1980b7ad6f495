"""What the run folder says of a unit."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from safetensors import SafetensorError

from mossa.errors import RunFolderError
from mossa.run.queue import Queue, needed
from mossa.store.folder import RunFolder
from mossa.units.unit import Unit, fingerprints


def some_units() -> dict[str, Unit]:
    units = [
        Unit("train", "a", {"steps": 3}),
        Unit("represent", "a@t", {"test": "x"}, ("train/a",), "a"),
        Unit("evaluate", "a@t", {"test": "x"}, ("train/a",), "a"),
        Unit("compare", "t", {}, ("represent/a@t",)),
        Unit("describe", "t", {}),
    ]
    return {unit.id: unit for unit in units}


def test_a_change_upstream_changes_every_fingerprint_downstream_and_no_other() -> None:
    units = some_units()
    before = fingerprints(units)
    units["train/a"] = Unit("train", "a", {"steps": 4})
    after = fingerprints(units)
    assert {name for name in units if before[name] != after[name]} == set(needed(units, {"train/a"}))


def test_a_failed_redo_is_failed_and_not_stale(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    run.prepare()
    unit = Unit("train", "a", {"steps": 3})
    with run.landing(unit, "one", {}) as folder:
        (folder / "x.txt").write_text("x")
    assert run.status(unit, "one").state == "done"
    changed = Unit("train", "a", {"steps": 4})
    assert (run.status(changed, "two").state, run.status(changed, "two").why) == ("stale", "changed since: steps")
    run.record_failure(changed, "two", "it diverged")
    assert (run.status(changed, "two").state, run.status(changed, "two").why) == ("failed", "it diverged")
    assert run.status(unit, "one").state == "done"


@pytest.mark.parametrize(
    "manifest", ["", "[]", "{}", '{"files": {"a": 5}, "fingerprint": "x"}', '{"files": 3, "fingerprint": "x"}', "\x00"]
)
def test_a_manifest_that_is_none_is_a_missing_unit(tmp_path: Path, manifest: str) -> None:
    run = RunFolder(tmp_path)
    place = run.folder("train/a")
    place.mkdir(parents=True)
    (place / "manifest.json").write_text(manifest)
    assert run.status(Unit("train", "a", {}), "x").state == "missing"


def test_what_a_unit_raises_leaves_nothing_behind(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    with pytest.raises(KeyError), run.landing(Unit("train", "a", {}), "x", {}) as folder:
        (folder / "half").write_text("done")
        raise KeyError("a bug")
    assert not list(run.work.iterdir()) and run.manifest("train/a") is None


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space"), SafetensorError("I/O error: No space left on device (os error 28)")]
)
def test_a_full_disk_stops_the_run_wherever_it_is_met(tmp_path: Path, error: Exception) -> None:
    with (
        pytest.raises(RunFolderError, match="the disk is full; make room"),
        RunFolder(tmp_path).landing(Unit("train", "a", {}), "x", {}),
    ):
        raise error


def test_an_input_that_cannot_be_read_is_the_units_own_failure(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), RunFolder(tmp_path).landing(Unit("train", "a", {}), "x", {}):
        raise PermissionError(errno.EACCES, "somebody else's file")


def test_the_queue_gives_inputs_first_and_prefers_the_model_that_is_loaded() -> None:
    units = some_units() | {"train/b": Unit("train", "b", {}), "represent/b@t": Unit("represent", "b@t", {}, (), "b")}
    queue = Queue(units, units)
    first = queue.next()
    assert first is not None and first.id == "train/a"
    queue.done("train/a")
    preferred = queue.next(loaded="b")
    assert preferred is not None and preferred.id == "represent/b@t"
    assert queue.fail("represent/a@t", "broken") == ["compare/t"]
    assert queue.failed["compare/t"] == "not done, because represent a on t failed"
    left = set()
    while unit := queue.next():
        left.add(unit.id)
        queue.done(unit.id)
    assert left == {"evaluate/a@t", "describe/t", "train/b"} and queue.running == {"represent/b@t"}


def test_what_has_failed_is_not_put_back_with_a_damaged_input() -> None:
    both = Unit("compare", "both", {}, ("train/a", "train/b"))
    units = some_units() | {"train/b": Unit("train", "b", {}), both.id: both}
    queue = Queue(units, ["train/b", "represent/a@t", "compare/both"])
    assert queue.fail("train/b", "it diverged") == ["compare/both"]
    queue.again("represent/a@t", "train/a")
    assert queue.todo == {"train/a", "represent/a@t", "evaluate/a@t", "compare/t"}
