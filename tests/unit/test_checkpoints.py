"""Checkpoints are whole and unchanged, or refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tunebench_api.v1alpha1 import TuningMethod
from tunebench_jobs.checkpoints import (
    MANIFEST_FILE,
    CheckpointFacts,
    build_fingerprint,
    check_adapter,
    check_full_weights,
    load_manifest,
    save_manifest,
)
from tunebench_jobs.errors import InputError

FACTS = CheckpointFacts(
    method=TuningMethod.LORA,
    base="acme/model",
    base_digest="0" * 64,
    seed=1,
    steps=3,
    examples=8,
    dropped=0,
    precision="Float32",
    train_loss=1.5,
    parameters_total=10,
    parameters_trained=2,
)
LAYER = "base_model.model.layer"
KEYS = {f"{LAYER}.lora_A.weight", f"{LAYER}.lora_B.weight"}


@pytest.fixture(name="folder")
def fixture_folder(tmp_path: Path) -> Path:
    """Return a finished checkpoint; only names and contents matter here."""
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    (tmp_path / "adapter_config.json").write_text("{}")
    save_manifest(tmp_path, FACTS)
    return tmp_path


def test_finished_checkpoint_is_loaded_with_its_facts(folder: Path) -> None:
    """What was saved comes back."""
    manifest = load_manifest(folder)

    assert manifest.facts == FACTS
    assert set(manifest.files) == {"adapter_model.safetensors", "adapter_config.json"}
    assert manifest.contract_base.base == "acme/model"


def test_unfinished_checkpoint_is_refused(folder: Path) -> None:
    """The manifest is written last; without it nothing is trusted."""
    (folder / MANIFEST_FILE).unlink()

    with pytest.raises(InputError, match="training did not finish"):
        load_manifest(folder)


@pytest.mark.parametrize("content", [b"weightz", b"weights and more", b""])
def test_changed_file_is_refused(folder: Path, content: bytes) -> None:
    """One other byte is enough."""
    (folder / "adapter_model.safetensors").write_bytes(content)

    with pytest.raises(InputError, match="was changed after training"):
        load_manifest(folder)


def test_missing_file_is_refused(folder: Path) -> None:
    """A listed file must be there."""
    (folder / "adapter_config.json").unlink()

    with pytest.raises(InputError, match=r"differs in 'adapter_config\.json'"):
        load_manifest(folder)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("pytorch_model.bin", "UnsafeWeights"),
        ("optimizer.pt", "UnsafeWeights"),
        ("modeling.py", "UnsafeWeights"),
        ("nested", "UnsafeWeights"),
        ("more.safetensors", "CheckpointBroken"),
    ],
)
def test_unknown_file_is_refused(folder: Path, name: str, reason: str) -> None:
    """Pickles and code are never accepted, other files only when listed."""
    (folder / name).write_bytes(b"")

    with pytest.raises(InputError) as caught:
        load_manifest(folder)

    assert caught.value.reason == reason


@pytest.mark.parametrize("name", ["../secret.json", "/etc/hosts.json", "..", "a/b.json"])
def test_path_out_of_the_folder_is_refused(folder: Path, name: str) -> None:
    """A manifest names plain files only."""
    path = folder / MANIFEST_FILE
    document = json.loads(path.read_bytes())
    document["files"][name] = {"sha256": "0" * 64, "bytes": 1}
    path.write_text(json.dumps(document))

    with pytest.raises(InputError, match="must list plain file names"):
        load_manifest(folder)


def test_link_is_refused(folder: Path) -> None:
    """A link could be pointed elsewhere after the check."""
    target = folder.parent / f"{folder.name}-elsewhere.json"
    (folder / "adapter_config.json").rename(target)
    (folder / "adapter_config.json").symlink_to(target)

    with pytest.raises(InputError, match="must be a plain file"):
        load_manifest(folder)


@pytest.mark.parametrize("key", ["auto_map", "auto_mapping"])
def test_config_that_asks_for_code_is_refused(tmp_path: Path, key: str) -> None:
    """No code of a checkpoint ever runs, even with a matching digest."""
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    (tmp_path / "adapter_config.json").write_text(json.dumps({key: {"parent_library": "os"}}))
    save_manifest(tmp_path, FACTS)

    with pytest.raises(InputError) as caught:
        load_manifest(tmp_path)

    assert caught.value.reason == "CustomCode"


def test_checkpoint_without_its_weights_is_refused(tmp_path: Path) -> None:
    """A full checkpoint of JSON files only is none."""
    (tmp_path / "config.json").write_text("{}")
    save_manifest(tmp_path, FACTS.model_copy(update={"method": TuningMethod.FULL}))

    with pytest.raises(InputError, match="must have the weights of Full"):
        load_manifest(tmp_path)


def _build_adapter(low: float) -> dict[str, torch.Tensor]:
    return {
        f"{LAYER}.lora_A.weight": torch.ones(2, 3),
        f"{LAYER}.lora_B.weight": torch.full((3, 2), low),
    }


def test_trained_adapter_passes() -> None:
    """B is no longer zero."""
    check_adapter(_build_adapter(0.1), KEYS)


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        (_build_adapter(0.0), "AdapterUnchanged"),
        (_build_adapter(float("nan")), "LossNotFinite"),
        ({}, "AdapterIncomplete"),
        (_build_adapter(0.1) | {"other": torch.ones(1)}, "AdapterIncomplete"),
        (_build_adapter(0.1) | {f"{LAYER}.lora_A.weight": torch.empty(0)}, "CheckpointIncomplete"),
    ],
    ids=["unchanged", "NaN", "empty", "unknown tensor", "hollow tensor"],
)
def test_adapter_that_would_do_nothing_is_refused(
    tensors: dict[str, torch.Tensor], reason: str
) -> None:
    """A checkpoint that answers as its base, or not at all, is found before it is served."""
    with pytest.raises(InputError) as caught:
        check_adapter(tensors, KEYS)

    assert caught.value.reason == reason


def test_full_weights_must_have_changed() -> None:
    """At least one weight differs from before."""
    before = {"a": build_fingerprint(torch.ones(2)), "b": build_fingerprint(torch.ones(3))}

    check_full_weights({"a": torch.ones(2), "b": torch.full((3,), 1.1)}, before)

    with pytest.raises(InputError, match="must differ from its base model"):
        check_full_weights({"a": torch.ones(2), "b": torch.ones(3)}, before)
    with pytest.raises(InputError, match="must have all weights"):
        check_full_weights({"a": torch.ones(2)}, before)
