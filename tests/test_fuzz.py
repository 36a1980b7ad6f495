"""What nobody should trust: study files, overrides, lines of data and manifests of every shape.

Whatever is in them: an answer or a sentence, never a traceback, never a hang, never a path that leads out, never a
study that reads back as another. 12,000 inputs in all, fewer of those that take longer; `make
fuzz` tries many times as many (`MOSSA_FUZZ`). Adapters have their own, in tests/models/test_strange_adapters.py.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mossa.errors import DataError, MossaError, StudyError
from mossa.names import SAFE_NAME
from mossa.store.folder import RunFolder
from mossa.study import StudySettings, read_study
from mossa.units.unit import Unit
from tests.strange import as_json, nasty, tries
from tests.tasks.reading import read_examples

STUDY: dict[str, Any] = {
    "name": "good",
    "base": {"model": "some/base", "dtype": "float32"},
    "prompt": {"template": "plain", "cutoff": 64},
    "tasks": {"source": "somewhere", "only": ["a", "b"], "clusters": {"c": ["a"], "d": ["b"]}, "train": 10},
    "recipe": {"preset": "small", "lora": {"rank": 4, "targets": ["q_proj"]}, "budget": {"steps": 3}},
    "control": {"seeds": [0, 1]},
    "experimental": {"pretrained": "base", "sft": {"mixture": "all", "hold_out": ["a"]}},
    "similarity": {"estimators": ["cka-linear"], "other_controls": 1},
}


def places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the place of every value inside `value`."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(place for key, inner in items for place in places(inner, (*here, key)))]


TOKENS = [*"{}[]:,-?&*!|>'\"#%@` \n\t", "a", "name", "<<", "&a", "*a", "!!", "0x", "2025-99-99", "1e9"]
VALUES = ["2025-99-99", "[" * 200, "&a [*a]", "0x" + "f" * 6000, "!!set"]
PLACES = [place for place in places(STUDY) if place]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def check_study(path: Path, *overrides: str) -> None:
    try:
        found = read_study(path, overrides)
    except StudyError as error:
        assert str(error)
        return
    assert (found.study is None) == bool(found.problems)
    assert all(str(problem) and len(str(problem)) < 20_000 for problem in found.problems)
    if found.study is None:
        return
    study = found.study
    assert all(SAFE_NAME.fullmatch(name) and ".." not in name for name in (study.name, *study.experimental))
    assert not study.base.trust_remote_code or "trust_remote_code" in path.read_text(errors="replace")
    assert StudySettings.model_validate(yaml.safe_load(yaml.safe_dump(study.model_dump(mode="json")))) == study


@tries(1000)
@given(changes=st.lists(st.tuples(st.sampled_from(PLACES), nasty, st.booleans()), min_size=1, max_size=3))
def test_no_study_file_makes_the_reader_fall_over(
    folder: Path, changes: list[tuple[tuple[Any, ...], Any, bool]]
) -> None:
    data = copy.deepcopy(STUDY)
    for place, value, new_key in changes:
        inner: Any = data
        try:
            for key in place[:-1]:
                inner = inner[key]
            if new_key and isinstance(inner, dict):
                inner[value if isinstance(value, str) else str(type(value))] = value
            else:
                inner[place[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took the place away
    path = folder / "study.yaml"
    path.write_bytes(yaml.dump(data, allow_unicode=True).encode("utf-8", "surrogatepass"))
    check_study(path)


@tries(3000)
@given(
    text=st.one_of(
        st.text(max_size=120),
        st.lists(
            st.sampled_from(
                [*"{}[]:,-?&*!|>'\"#%@` \n\t", "a", "name", "<<", "&a", "*a", "!!", "0x", "2025-99-99", "1e9"]
            )
        ).map("".join),
    )
)
def test_no_text_makes_the_reader_fall_over(folder: Path, text: str) -> None:
    path = folder / "text.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    check_study(path)
    path.write_bytes(
        b"name: good\nbase: {model: b}\ntasks: {source: s}\nsimilarity: " + text.encode("utf-8", "replace")
    )
    check_study(path)


@tries(1000)
@given(
    key=st.one_of(st.sampled_from([".".join(map(str, place)) for place in PLACES]), st.text(max_size=12)),
    value=st.one_of(st.text(max_size=30), st.sampled_from(VALUES)),
)
def test_no_override_makes_the_reader_fall_over(folder: Path, key: str, value: str) -> None:
    path = folder / "plain.yaml"
    path.write_text(yaml.safe_dump(STUDY))
    check_study(path, f"{key}={value}")


@tries(3500)
@given(
    lines=st.lists(
        st.one_of(
            st.binary(max_size=40),
            nasty.map(lambda value: as_json(value)),
            st.fixed_dictionaries(
                {"inputs": nasty, "targets": nasty}, optional={"task": nasty, "template": nasty, "x": nasty}
            ).map(lambda value: as_json(value)),
            st.just(b'{"inputs": "a", "targets": "b", "task": "first"}'),
        ),
        max_size=4,
    )
)
def test_no_line_of_data_makes_the_reader_fall_over(folder: Path, lines: list[bytes]) -> None:
    path = folder / "first.jsonl"
    path.write_bytes(b"\n".join(lines))
    try:
        found = read_examples(path, "first")
    except DataError as error:
        assert "first.jsonl" in str(error) and len(str(error)) < 20_000
        return
    assert len(found) <= sum(map(bool, map(bytes.strip, lines))) + sum(
        line.count(b"\r") + line.count(b"\n") for line in lines
    )
    assert all(example.prompt.strip() and example.target.strip() for example in found)


@tries(3500)
@given(
    manifest=st.fixed_dictionaries(
        {},
        optional={
            "fingerprint": nasty | st.just("mark"),
            "settings": nasty,
            "files": nasty
            | st.dictionaries(
                st.sampled_from(
                    ["x.txt", "../../outside", "/dev/zero", "/etc/passwd", ".", "", "a/../../b", "link", "\0"]
                )
                | st.text(max_size=6),
                st.sampled_from([[1, "0"], [0, "0"], [4, None], [True, "x"], 3, [], None, ["1", "0"]]) | nasty,
                max_size=3,
            ),
        },
    ),
    raw=st.none() | st.binary(max_size=60),
)
def test_no_manifest_is_trusted(folder: Path, manifest: dict[str, Any], raw: bytes | None) -> None:
    """Never an error, never a file outside of the unit, never 'done' for what was not landed."""
    run = RunFolder(folder / "run")
    unit = Unit("train", "a", {"steps": 3})
    place = run.folder(unit.id)
    if not place.is_dir():
        place.mkdir(parents=True)
        (place / "x.txt").write_text("x")
        (place / "link").symlink_to("/dev/zero")
    (place / "manifest.json").write_bytes(as_json(manifest) if raw is None else raw)
    read = run.manifest(unit.id)
    status = run.status(unit, "mark")
    assert status.state in ("done", "missing", "stale", "damaged")
    assert run.damage(unit.id) is not None or not (read and read["files"])
    if read:
        assert all(".." not in name and not name.startswith("/") for name in read["files"])
    assert status.state != "done" or (read is not None and set(read["files"]) <= {"x.txt"})


def test_a_line_without_end_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "first.jsonl"
    with path.open("wb") as file:
        file.truncate(20_000_000_000)  # a sparse file: twenty gigabytes of zeros in one line
    with pytest.raises(MossaError, match=r"line 1 has more than 4,000,000 characters"):
        read_examples(path, "first")
