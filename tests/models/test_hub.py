"""Models on a hub: known by commit or content; gated and missing ones are a sentence."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mossa.models.adapters import new_adapter, save_adapter
from mossa.models.base import load_base
from mossa.study.recipe import Lora
from mossa.study.schema import Base
from tests.hub import hub

ASK = """
import sys
from mossa.errors import ModelError
from mossa.models.files import adapter_fingerprint, base_fingerprint
from mossa.study.schema import Base
for name in sys.argv[1:]:
    try:
        name, _, revision = name.partition("@")
        trusted = name.startswith("trusted:")
        base = Base(model=name.removeprefix("trusted:"), revision=revision or None, trust_remote_code=trusted)
        print(adapter_fingerprint(name) if "adapter" in name else base_fingerprint(base))
    except ModelError as error:
        print(error)
"""


def ask(address: str, cache: Path, *names: str, offline: str = "") -> list[str]:
    settings = {"HF_ENDPOINT": address, "HF_HOME": str(cache), "HF_HUB_OFFLINE": offline, "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", ASK, *names], env=os.environ | settings, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def adapter(base_folder: Callable[[str], Path], tmp_path: Path) -> Path:
    base = load_base(Base(model=str(base_folder("llama"))))
    with new_adapter(base, Lora(rank=2), seed=0) as adapted:
        save_adapter(adapted, tmp_path / "adapter")
    return tmp_path / "adapter"


def test_what_identifies_a_model_on_the_hub_is_its_commit_or_content(
    base_folder: Callable[[str], Path], adapter: Path, tmp_path: Path
) -> None:
    commits = {"me/base": "1" * 40, "me/adapter": "2" * 40}
    with hub({"me/base": base_folder("llama"), "me/adapter": adapter}, "me/gated", commits) as address:
        first = ask(address, tmp_path / "cache", "me/base", "me/adapter", "me/gated", "me/nothing", "me/other-adapter")
        again = ask(address, tmp_path / "cache", "me/base", "me/adapter", offline="1")
        commits |= {"me/base": "3" * 40, "me/adapter": "4" * 40}
        moved = ask(address, tmp_path / "cache", "me/base", "me/adapter")
        (adapter / "adapter_config.json").write_text((adapter / "adapter_config.json").read_text() + "\n")
        commits["me/adapter"] = "5" * 40
        changed = ask(address, tmp_path / "cache", "me/adapter")
        gone = ask(address, tmp_path / "cache", "me/base@v9", "me/base@" + "3" * 40)
    assert first[0] == "me/base@" + "1" * 40 and len(first[1]) == 64
    assert again == first[:2]
    assert moved == ["me/base@" + "3" * 40, first[1]]
    assert changed != [first[1]]
    assert "there is no such revision. Set base.revision" in gone[0] and gone[1] == "me/base@" + "3" * 40
    assert "me/gated cannot be loaded: the repository is gated" in first[2] and "hf auth login" in first[2]
    for name, said in (("me/nothing", first[3]), ("me/other-adapter", first[4])):
        assert f"{name} cannot be loaded: it is neither a folder nor a repository" in said and "Check the name" in said


def test_code_from_another_repository_counts_by_its_commit(base_folder: Callable[[str], Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(base_folder("llama"), tmp_path / "base"))
    config = json.loads((folder / "config.json").read_text())
    own = {"AutoConfig": "me/code--configuration_own.Own", "AutoModelForCausalLM": "me/code--own.modeling.Own"}
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": own}))
    code = tmp_path / "code"
    (code / "own").mkdir(parents=True)
    (code / "configuration_own.py").write_text("")
    (code / "own/modeling.py").write_text("")
    commits = {"me/code": "1" * 40, "me/base": "2" * 40}
    with hub({"me/code": code, "me/base": folder}, "me/gated", commits) as address:
        first = ask(address, tmp_path / "cache", f"trusted:{folder}", str(folder), "trusted:me/base", "me/base")
        commits["me/code"] = "3" * 40
        moved = ask(address, tmp_path / "cache", f"trusted:{folder}", str(folder), "trusted:me/base", "me/base")
    assert first[0] == f"{first[1]}+me/code@{'1' * 40}+me/code@{'1' * 40}"
    assert first[2:] == [f"me/base@{'2' * 40}+me/code@{'1' * 40}+me/code@{'1' * 40}", f"me/base@{'2' * 40}"]
    assert moved == [line.replace(f"code@{'1' * 40}", f"code@{'3' * 40}") for line in first]


def test_an_adapter_with_pickled_weights_is_refused(adapter: Path) -> None:
    from mossa.errors import ModelError
    from mossa.models.hub import adapter_folder

    (adapter / "adapter_model.safetensors").unlink()
    torch.save({}, adapter / "adapter_model.bin")
    with pytest.raises(ModelError, match=r"adapter .* cannot be loaded: .*adapter_model\.safetensors"):
        adapter_folder(str(adapter))
