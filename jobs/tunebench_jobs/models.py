"""Base models: found cheaply, then resolved to a local folder with safetensors and a tokenizer.

Weights come as safetensors or as GGUF, never as pickles, and no code of a model repository runs.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import httpx

from tunebench_api.contract import Base
from tunebench_jobs.chat import ensure_chat_template
from tunebench_jobs.errors import InputError, JobError, RetryableError, is_out_of_memory
from tunebench_jobs.gguf import convert_gguf, load_digest
from tunebench_jobs.tokenizer_files import load_filed_tokenizer

_PACKAGE = re.compile(r"package://([A-Za-z_][A-Za-z0-9_]*)((?:/[A-Za-z0-9_.-]+)*)")
_HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)?")
_HUB_FILES = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model", "*.jinja")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model")
_HUB_TIMEOUT_SECONDS = 10.0
_NOT_FOUND = "BaseModelNotFound"
_UNUSABLE = "BaseModelUnusable"


def check_base(base: Base) -> None:
    """Check that a base model exists, without loading or downloading weights.

    Raises:
        InputError: It does not exist, is not allowed, or cannot be used.
        RetryableError: The model hub does not answer just now.
    """
    folder = find_folder(base)
    if folder is None:
        _check_hub(base)
    elif base.gguf_file is None:
        check_folder(folder, base.base)
    else:
        _find_gguf(folder, base)


def resolve_base(base: Base, store: Path) -> Path:
    """Return a local folder with `config.json`, tokenizer files and safetensors.

    Raises:
        InputError: The base model does not exist, or cannot be used.
        RetryableError: The model hub does not answer just now.
    """
    folder = find_folder(base) or _download(base)
    if base.gguf_file is not None:
        folder = convert_gguf(_find_gguf(folder, base), store)
    check_folder(folder, base.base)
    return folder


def build_base_digest(folder: Path, store: Path) -> str:
    """Return a name for the weights, config and tokenizer in a resolved folder, whatever its path.

    File digests are kept in the store, so only the first call reads the weights.
    """
    return load_digest(
        (
            path
            for path in sorted(folder.iterdir())
            if path.suffix in {".safetensors", ".model", ".txt", ".jinja"}
            or path.name in {"config.json", "tokenizer.json", "tokenizer_config.json"}
        ),
        store,
    )


def check_folder(folder: Path, name: str) -> None:
    """Check that a folder holds a model that is safe to load.

    Raises:
        InputError: A file is absent or not to be read, weights are pickles only, or the model
            needs its own code.
    """
    if not (folder / "config.json").is_file():
        msg = (
            f"base model `{name}` must have a `config.json` in {folder}; for a GGUF give `ggufFile`"
        )
        raise InputError(msg, reason=_NOT_FOUND)
    if not any(folder.glob("*.safetensors")):
        pickled = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
        found = f"got only {pickled[0]}, a pickle, which can run code" if pickled else "got none"
        msg = f"base model `{name}` must have safetensors weights, {found}; convert it first"
        raise InputError(msg, reason="UnsafeWeights" if pickled else _NOT_FOUND)
    if not any((folder / file).is_file() for file in _TOKENIZER_FILES):
        msg = f"base model `{name}` must have a tokenizer ({', '.join(_TOKENIZER_FILES)}), got none"
        raise InputError(msg, reason=_NOT_FOUND)
    _check_readable(folder, name)
    for file in ("config.json", "tokenizer_config.json"):
        _check_no_code(folder / file, name)


def _check_readable(folder: Path, name: str) -> None:
    """Check that this user may read a model; what made it may have kept it to its own."""
    files = (path for path in sorted(folder.iterdir()) if path.is_file())
    closed = next(
        (path for path in files if not os.access(path, os.R_OK, effective_ids=True)), None
    )
    if closed is not None:
        msg = (
            f"base model `{name}` must be readable by user {os.geteuid()}, got no right to read "
            f"{closed}; give it with `chmod a+r`"
        )
        raise InputError(msg, reason=_UNUSABLE)


def load_tokenizer(folder: Path) -> Any:
    """Load a tokenizer that has a chat template and can pad.

    A base model without a chat template gets the one of `tunebench_jobs.chat`.

    Raises:
        InputError: The files are broken, or the tokenizer has no end-of-text token.
    """
    try:
        tokenizer = load_filed_tokenizer(folder)
    except (OSError, ValueError, KeyError) as error:
        msg = f"tokenizer in {folder} cannot be loaded: {error}"
        raise InputError(msg, reason=_UNUSABLE) from error
    if tokenizer.eos_token_id is None:
        msg = f"tokenizer in {folder} must have an `eos_token`, got none; set it there"
        raise InputError(msg, reason=_UNUSABLE)
    if tokenizer.pad_token_id is None:
        # Only fills batches: labels and attention masks never go by the id of a token.
        tokenizer.pad_token = tokenizer.eos_token
    ensure_chat_template(tokenizer)
    return tokenizer


def load_model(folder: Path, dtype: Any, *, nf4_device: Any = None) -> Any:
    """Load a causal language model in the given torch dtype.

    With `nf4_device`, the weights of its linear layers are frozen in 4 bits there, and compute in
    `dtype`.

    Raises:
        InputError: The architecture is not known, or weights are missing.
    """
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - takes seconds to import
    from transformers.utils import logging as logging_of_transformers  # noqa: PLC0415 - likewise

    logging_of_transformers.disable_progress_bar()
    quantized = {} if nf4_device is None else _build_nf4(dtype, nf4_device)
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            str(folder),
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            **quantized,
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        msg = f"model in {folder} cannot be loaded: {error}"
        raise InputError(msg, reason=_UNUSABLE) from error
    # transformers fills missing weights with random numbers and goes on.
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        msg = f"model in {folder} must have all weights, got none for {missing[0]} ({len(missing)})"
        raise InputError(msg, reason=_UNUSABLE)
    if nf4_device is not None:
        _keep_arithmetic(model)
    return model


def leave_out_nf4() -> None:
    """Spare this process the import of bitsandbytes, 3 s of a CPU, where nothing is in 4 bits.

    PEFT imports it wherever it is installed; must be called before anything imports PEFT.
    """
    sys.modules.setdefault("bitsandbytes", cast("ModuleType", None))


def _keep_arithmetic(model: Any) -> None:
    """Keep layers in 4 bits from packing their weights anew on a CPU at the first inference.

    They would then compute in bfloat16, other than in training, and never go back.
    """
    for part in model.modules():
        if hasattr(part, "support_avx512bf16_for_cpu"):
            part.support_avx512bf16_for_cpu = False


def _build_nf4(dtype: Any, device: Any) -> dict[str, Any]:
    """Return the arguments that load weights in NF4, with the scales of their blocks in 8 bits."""
    from transformers import BitsAndBytesConfig  # noqa: PLC0415 - takes seconds to import

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return {"quantization_config": config, "device_map": {"": device}}


def find_folder(base: Base) -> Path | None:
    """Return the folder that `base` names, or None where it is a hub id."""
    if base.base.startswith("package://"):
        return _find_package_folder(base.base)
    if not base.base.startswith(("./", "../", "/")):
        if not _HUB_ID.fullmatch(base.base):
            msg = (
                f"`base` must be a Hugging Face id, a folder (./ or / first) or package://NAME, "
                f"got {base.base!r}"
            )
            raise InputError(msg, reason=_NOT_FOUND)
        return None
    folder = Path(base.base)
    if not folder.is_dir():
        msg = f"base model `{base.base}` must be a folder, got none there; check the path"
        raise InputError(msg, reason=_NOT_FOUND)
    return folder


def _find_package_folder(uri: str) -> Path:
    match = _PACKAGE.fullmatch(uri)
    if match is None or ".." in match[2].split("/"):
        msg = f"`base` must be package://NAME or package://NAME/FOLDER, got {uri!r}"
        raise InputError(msg, reason=_NOT_FOUND)
    # A top-level name: finding it imports nothing.
    spec = importlib.util.find_spec(match[1])
    places = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    for place in places:
        if (folder := place / match[2].lstrip("/")).is_dir():
            return folder
    msg = f"base model `{uri}` must be an installed Python package, got none; install `{match[1]}`"
    raise InputError(msg, reason=_NOT_FOUND)


def _find_gguf(folder: Path, base: Base) -> Path:
    path = folder / (base.gguf_file or "")
    if Path(base.gguf_file or "").name != base.gguf_file or not path.is_file():
        there = ", ".join(sorted(file.name for file in folder.glob("*.gguf"))) or "no GGUF file"
        msg = f"`ggufFile` must be a file in `{base.base}`, got {base.gguf_file!r}; it has {there}"
        raise InputError(msg, reason=_NOT_FOUND)
    return path


def _check_no_code(path: Path, name: str) -> None:
    try:
        document = json.loads(path.read_bytes()) if path.is_file() else {}
    except ValueError as error:
        msg = f"base model `{name}` must have a JSON file {path.name}: {error}"
        raise InputError(msg, reason=_UNUSABLE) from error
    if "auto_map" in document:
        msg = (
            f"base model `{name}` needs code of its own (`auto_map` in {path.name}): never run here"
        )
        raise InputError(msg, reason="CustomCode")


def _check_hub(base: Base) -> None:
    """Look a hub id up, in the local cache first where the hub is out of reach."""
    from huggingface_hub import HfApi  # noqa: PLC0415 - only for hub models
    from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415 - likewise

    try:
        info = HfApi().model_info(base.base, revision=base.revision, timeout=_HUB_TIMEOUT_SECONDS)
    except (HfHubHTTPError, httpx.HTTPError, OSError) as error:
        if _find_in_hub_cache(base) is None:
            raise _build_hub_error(base, error) from error
        return
    files = {sibling.rfilename for sibling in info.siblings or ()}
    wanted = base.gguf_file or "config.json"
    if wanted not in files:
        msg = f"base model `{base.base}` must have the file {wanted}, got none on the model hub"
        raise InputError(msg, reason=_NOT_FOUND)
    if base.gguf_file is None and not any(name.endswith(".safetensors") for name in files):
        msg = f"base model `{base.base}` must have safetensors weights, got none; convert it first"
        raise InputError(msg, reason="UnsafeWeights")


def _find_in_hub_cache(base: Base) -> Path | None:
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415 - only for hub models

    found = try_to_load_from_cache(
        base.base, base.gguf_file or "config.json", revision=base.revision
    )
    return Path(found).parent if isinstance(found, str) else None


def _download(base: Base) -> Path:
    """Bring a hub model into the local cache; with no hub in reach, take what the cache has."""
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - only for hub models
    from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415 - likewise

    patterns = [base.gguf_file] if base.gguf_file else list(_HUB_FILES)
    try:
        return Path(
            snapshot_download(
                base.base,
                revision=base.revision,
                allow_patterns=patterns,
                etag_timeout=_HUB_TIMEOUT_SECONDS,
            )
        )
    except (HfHubHTTPError, httpx.HTTPError, OSError) as error:
        raise _build_hub_error(base, error) from error


def _build_hub_error(base: Base, error: Exception) -> JobError:
    """Say what the user can do, or that waiting may help."""
    from huggingface_hub import errors as hub  # noqa: PLC0415 - only for hub models

    at = f" at revision `{base.revision}`" if base.revision else ""
    if isinstance(error, hub.GatedRepoError | hub.RepositoryNotFoundError):
        msg = (
            f"base model `{base.base}`{at} must exist on the model hub and be open to you; check "
            "the spelling, or set HF_TOKEN where it is private or asks to accept a licence"
        )
        return InputError(msg, reason=_NOT_FOUND)
    if isinstance(error, hub.RevisionNotFoundError):
        msg = f"base model `{base.base}` has no revision `{base.revision}`; check `revision`"
        return InputError(msg, reason=_NOT_FOUND)
    if isinstance(error, httpx.HTTPStatusError | httpx.TimeoutException | hub.HfHubHTTPError):
        return RetryableError(
            f"model hub does not answer for `{base.base}`{at}: {error}",
            reason="ModelHubUnavailable",
        )
    offline = "HF_HUB_OFFLINE is set" if os.environ.get("HF_HUB_OFFLINE") else f"{error}"
    # A machine without a way to the hub will not find one by waiting.
    msg = (
        f"base model `{base.base}`{at} is not on this machine and the model hub is out of reach "
        f"({offline}); check the spelling and the network, or give a folder (./ or / first)"
    )
    return InputError(msg, reason=_NOT_FOUND)
