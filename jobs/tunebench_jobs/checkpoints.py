"""Checkpoints: what a train stage leaves for serving, whole and unchanged or refused.

A checkpoint is a folder of safetensors, JSON and tokenizer files with `manifest.json`, which is
written last and holds the SHA-256 of every other file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from tunebench_api.contract import Base
from tunebench_api.v1alpha1 import TuningMethod
from tunebench_jobs.errors import InputError
from tunebench_jobs.files import build_file_digest, save_text
from tunebench_jobs.records import Record, describe_validation_error

MANIFEST_FILE = "manifest.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"

# Nothing else may lie in a checkpoint: no pickle, no code.
_ALLOWED_SUFFIXES = frozenset({".safetensors", ".json", ".txt", ".model", ".jinja"})
_BROKEN = "CheckpointBroken"


class CheckpointFile(Record):
    """Size and content of one file."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class CheckpointFacts(Record):
    """What a checkpoint is, besides its files."""

    method: TuningMethod
    base: str
    revision: str | None = None
    gguf_file: str | None = None
    # Content of the base model's folder that it was trained from.
    base_digest: str
    seed: int
    steps: int
    examples: int
    dropped: int
    precision: str
    train_loss: float
    parameters_total: int
    parameters_trained: int


class CheckpointManifest(Record):
    """Contents of `manifest.json`."""

    version: Literal[1] = 1
    facts: CheckpointFacts
    files: Mapping[str, CheckpointFile] = Field(min_length=1)

    @property
    def contract_base(self) -> Base:
        """The base model, as stage configs name it."""
        return Base(
            base=self.facts.base, revision=self.facts.revision, gguf_file=self.facts.gguf_file
        )


def save_manifest(folder: Path, facts: CheckpointFacts) -> CheckpointManifest:
    """Complete a checkpoint whose other files are all written."""
    files = {
        path.name: CheckpointFile(sha256=build_file_digest(path), bytes=path.stat().st_size)
        for path in sorted(folder.iterdir())
        if path.name != MANIFEST_FILE
    }
    manifest = CheckpointManifest(facts=facts, files=files)
    save_text(folder / MANIFEST_FILE, manifest.model_dump_json(indent=1))
    return manifest


def load_manifest(folder: Path) -> CheckpointManifest:
    """Check every file of a checkpoint against its manifest, and return the manifest.

    Raises:
        InputError: The checkpoint is unfinished, changed, or holds what it must not.
    """
    manifest = load_unchecked_manifest(folder)
    _check_names(folder, set(manifest.files))
    for name, file in manifest.files.items():
        _check_file(folder / name, file)
    _check_weights_present(folder, manifest)
    return manifest


def load_unchecked_manifest(folder: Path) -> CheckpointManifest:
    """Return what a checkpoint's manifest says, without a look at its other files.

    Raises:
        InputError: There is none, or it is broken.
    """
    path = folder / MANIFEST_FILE
    if not path.is_file():
        msg = f"checkpoint {folder} must have a {MANIFEST_FILE}, got none; training did not finish"
        raise InputError(msg, reason=_BROKEN)
    try:
        return CheckpointManifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        msg = f"{path} is broken: {describe_validation_error(error)}; train again"
        raise InputError(msg, reason=_BROKEN) from error


def check_adapter(tensors: Mapping[str, Any], expected: AbstractSet[str]) -> None:
    """Check that an adapter has all its tensors, that they are finite and that training moved them.

    LoRA's B starts at zero, so that an adapter with B = 0 changes nothing.

    Raises:
        InputError: The adapter is empty, partial, not finite or unchanged.
    """
    if set(tensors) != set(expected):
        missing, unknown = sorted(expected - set(tensors)), sorted(set(tensors) - expected)
        msg = (
            "adapter must have the tensors of its layers, "
            f"got {missing[:3]} missing and {unknown[:3]} unknown"
        )
        raise InputError(msg, reason="AdapterIncomplete")
    _check_numbers(tensors)
    matrices = [tensor for name, tensor in tensors.items() if ".lora_B." in name]
    if not any(bool(matrix.count_nonzero()) for matrix in matrices):
        msg = (
            "adapter must differ from the base model, got B = 0; raise `learningRate` or the steps"
        )
        raise InputError(msg, reason="AdapterUnchanged")


def build_fingerprint(tensor: Any) -> float:
    """Return a number that tells whether a tensor was changed."""
    return float(tensor.detach().double().square().sum())


def check_full_weights(tensors: Mapping[str, Any], before: Mapping[str, float]) -> None:
    """Check that fully tuned weights are finite and that training changed at least one of them.

    Args:
        tensors: The weights as they are saved.
        before: Fingerprints of the weights that training began with.

    Raises:
        InputError: Weights are empty, absent, not finite or all as they were.
    """
    if missing := sorted(set(before) - set(tensors)):
        msg = f"checkpoint must have all weights of its base model, got none for {missing[0]}"
        raise InputError(msg, reason="CheckpointIncomplete")
    _check_numbers(tensors)
    if all(build_fingerprint(tensors[name]) == value for name, value in before.items()):
        msg = "checkpoint must differ from its base model; raise `learningRate` or the steps"
        raise InputError(msg, reason="CheckpointUnchanged")


def _check_numbers(tensors: Mapping[str, Any]) -> None:
    for name, tensor in tensors.items():
        # ZeRO-3 leaves empty shells where parameters were not gathered.
        if tensor.numel() == 0:
            msg = f"checkpoint must have numbers in every tensor, got none in {name}"
            raise InputError(msg, reason="CheckpointIncomplete")
        if not bool(tensor.isfinite().all()):
            msg = f"checkpoint must have finite numbers, got NaN or infinity in {name}"
            raise InputError(msg, reason="LossNotFinite")


def _check_names(folder: Path, listed: AbstractSet[str]) -> None:
    for name in sorted(listed):
        if Path(name).name != name or name in {".", ".."}:
            msg = f"checkpoint {folder} must list plain file names, got {name!r}"
            raise InputError(msg, reason=_BROKEN)
    present = {path.name for path in folder.iterdir()} - {MANIFEST_FILE}
    for name in sorted(present | listed):
        if Path(name).suffix not in _ALLOWED_SUFFIXES:
            msg = f"checkpoint {folder} must hold safetensors and JSON only, got {name!r}"
            raise InputError(msg, reason="UnsafeWeights")
    if different := sorted(present ^ listed):
        msg = f"checkpoint {folder} must hold what its manifest lists, differs in {different[0]!r}"
        raise InputError(msg, reason=_BROKEN)


def _check_file(path: Path, file: CheckpointFile) -> None:
    if path.is_symlink() or not path.is_file():
        msg = f"{path} must be a plain file"
        raise InputError(msg, reason=_BROKEN)
    if path.stat().st_size != file.bytes or build_file_digest(path) != file.sha256:
        msg = f"{path} was changed after training (SHA-256 differs); train again"
        raise InputError(msg, reason=_BROKEN)


def _check_weights_present(folder: Path, manifest: CheckpointManifest) -> None:
    if manifest.facts.method is TuningMethod.FULL:
        found = any(name.endswith(".safetensors") for name in manifest.files)
    else:
        found = {ADAPTER_WEIGHTS, ADAPTER_CONFIG} <= set(manifest.files)
    if not found:
        msg = f"checkpoint {folder} must have the weights of {manifest.facts.method}, got none"
        raise InputError(msg, reason=_BROKEN)
    for name in manifest.files:
        if name.endswith(".json"):
            _check_no_code(folder / name)


def _check_no_code(path: Path) -> None:
    try:
        document = json.loads(path.read_bytes())
    except ValueError as error:
        msg = f"{path} is not JSON: {error}; train again"
        raise InputError(msg, reason=_BROKEN) from error
    # Either would make a loader import code of somebody else's choice.
    for key in ("auto_map", "auto_mapping"):
        if isinstance(document, dict) and document.get(key):
            msg = f"{path} asks for code of its own (`{key}`), which never runs here"
            raise InputError(msg, reason="CustomCode")
