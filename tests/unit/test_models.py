"""Base models are found before anything is paid for, and unsafe ones are refused."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from tunebench_api.contract import Base
from tunebench_jobs.errors import InputError
from tunebench_jobs.gguf import load_digest
from tunebench_jobs.models import build_base_digest, check_base, check_folder


@pytest.fixture(name="folder")
def fixture_folder(tmp_path: Path) -> Path:
    """Return what looks like a model; nothing of it is loaded here."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def test_folder_with_safetensors_passes(folder: Path) -> None:
    """A config, a tokenizer and safetensors are enough."""
    check_base(Base(base=str(folder)))


@pytest.mark.parametrize(
    ("base", "words"),
    [
        ("./no/such/folder", "check the path"),
        ("package://no_such_package_of_weights", "install `no_such_package_of_weights`"),
        ("package://json/../../etc", "package://NAME"),
        ("not a model", "Hugging Face id, a folder"),
        ("https://example.com/model", "Hugging Face id, a folder"),
    ],
)
def test_base_that_does_not_exist_is_named(base: str, words: str) -> None:
    """The error says what was looked for and what to do."""
    with pytest.raises(InputError, match=words) as caught:
        check_base(Base(base=base))

    assert caught.value.reason == "BaseModelNotFound"


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("config.json", r"must have a `config\.json`"),
        ("tokenizer.json", "must have a tokenizer"),
        ("model.safetensors", "must have safetensors weights, got none"),
    ],
)
def test_part_that_is_missing_is_named(folder: Path, missing: str, words: str) -> None:
    """Each part of a model is looked for."""
    (folder / missing).unlink()

    with pytest.raises(InputError, match=words):
        check_folder(folder, "acme/model")


def test_weights_of_somebody_else_are_named(folder: Path) -> None:
    """A file that this user may not read is found before anything loads it."""
    user, nobody = os.geteuid(), 65_534
    # Not below pytest's folder, which is closed to others.
    with tempfile.TemporaryDirectory() as place:
        shared = Path(shutil.copytree(folder, place, dirs_exist_ok=True))
        shared.chmod(0o755)
        (shared / "model.safetensors").chmod(0o000)
        if user == 0:
            os.seteuid(nobody)
        try:
            with pytest.raises(InputError, match=r"model\.safetensors; give it with `chmod a\+r`"):
                check_folder(shared, "acme/model")
        finally:
            os.seteuid(user)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "weights.pt", "model.ckpt"])
def test_pickled_weights_are_refused(folder: Path, name: str) -> None:
    """Pickles can run code when they are loaded."""
    (folder / "model.safetensors").rename(folder / name)

    with pytest.raises(InputError, match=f"got only {name}, a pickle") as caught:
        check_folder(folder, "acme/model")

    assert caught.value.reason == "UnsafeWeights"


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_model_with_code_of_its_own_is_refused(folder: Path, name: str) -> None:
    """`trust_remote_code` is never on."""
    (folder / name).write_text(json.dumps({"auto_map": {"AutoModel": "modeling.Model"}}))

    with pytest.raises(InputError, match=r"`auto_map` in") as caught:
        check_base(Base(base=str(folder)))

    assert caught.value.reason == "CustomCode"


@pytest.mark.parametrize("name", ["other.gguf", "../model.gguf", ""])
def test_gguf_file_must_be_in_the_folder(folder: Path, name: str) -> None:
    """The error lists what is there; a path out of the folder is none of it."""
    (folder / "model.gguf").write_bytes(b"GGUF")
    (folder.parent / "model.gguf").write_bytes(b"GGUF")

    with pytest.raises(InputError, match=r"it has model\.gguf"):
        check_base(Base(base=str(folder), gguf_file=name))

    check_base(Base(base=str(folder), gguf_file="model.gguf"))


def test_digest_follows_content_not_place(folder: Path, tmp_path: Path) -> None:
    """A copied model has the same digest, a changed one another."""
    store = tmp_path / "store"
    before = build_base_digest(folder, store)
    copy = folder.rename(tmp_path / "copy")

    assert build_base_digest(copy, store) == before

    (copy / "model.safetensors").write_bytes(b"WEIGHTS and more")

    assert build_base_digest(copy, store) != before


def test_digest_is_not_computed_twice(folder: Path, tmp_path: Path) -> None:
    """The second call takes the note in the store instead of reading gigabytes."""
    store = tmp_path / "store"
    path = folder / "model.safetensors"
    first = load_digest([path], store)
    notes = list((store / "bases" / ".digests").iterdir())
    notes[0].write_text("from the note")

    assert len(notes) == 1
    assert load_digest([path], store) != first
