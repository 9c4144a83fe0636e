"""GGUF weights, converted once to safetensors and kept in the store by content."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tunebench_jobs.errors import InputError
from tunebench_jobs.files import build_file_digest, disk_errors, save_text

logger = logging.getLogger(__name__)

BASE_MANIFEST = "tunebench-base.json"
# Part of the digest: raise it when the same GGUF is converted to something else.
_CONVERSION = "1"


def convert_gguf(path: Path, store: Path) -> Path:
    """Return a folder with the weights of a GGUF as float32 safetensors, made at the first call.

    Raises:
        InputError: The file is no GGUF that transformers can read.
    """
    digest = hashlib.sha256(f"{_CONVERSION}:{load_digest([path], store)}".encode()).hexdigest()[:16]
    folder = store / "bases" / digest
    with _locked(store / "bases" / f".{digest}.lock"):
        if not (folder / BASE_MANIFEST).is_file():
            logger.info("converting %s to safetensors, once", path.name)
            _convert(path, folder)
    return folder


def load_digest(paths: Iterable[Path], store: Path) -> str:
    """Return a digest over names and contents of files; each file is read once per change."""
    parts = {path.name: _load_file_digest(path, store / "bases" / ".digests") for path in paths}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _load_file_digest(path: Path, kept: Path) -> str:
    stat = path.stat()
    key = f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}|{stat.st_ino}"
    note = kept / hashlib.sha256(key.encode()).hexdigest()
    if note.is_file():
        return note.read_text()
    digest = build_file_digest(path)
    save_text(note, digest)
    return digest


def _convert(path: Path, folder: Path) -> None:
    """Write beside the final place and move at the end, so that a folder is whole or absent."""
    import torch  # noqa: PLC0415 - takes seconds to import
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415 - likewise
    from transformers.utils import logging as logging_of_transformers  # noqa: PLC0415 - likewise

    logging_of_transformers.disable_progress_bar()
    source = str(path.parent)
    with disk_errors(folder.parent):
        partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        try:
            # float32 keeps every dequantised number as it is.
            model = AutoModelForCausalLM.from_pretrained(
                source, gguf_file=path.name, dtype=torch.float32, local_files_only=True
            )
            # The weights are plain numbers now; with the marks of GGUF they could not be saved.
            model.hf_quantizer = None
            if hasattr(model.config, "quantization_config"):
                del model.config.quantization_config
            model.save_pretrained(partial)
            AutoTokenizer.from_pretrained(
                source, gguf_file=path.name, local_files_only=True
            ).save_pretrained(partial)
            manifest = {"gguf": path.name, "sha256": build_file_digest(path)}
            save_text(partial / BASE_MANIFEST, json.dumps(manifest, indent=1))
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
        except (ValueError, KeyError, NotImplementedError) as error:
            msg = f"GGUF file {path.name} cannot be converted: {error}; use safetensors weights"
            raise InputError(msg, reason="BaseModelUnusable") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
