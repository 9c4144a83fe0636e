"""The sizes of base models, read without their weights: what trainings are sized by."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx

from tunebench_api.contract import Base
from tunebench_api.sizing.shape import ModelShape, parse_shape
from tunebench_jobs.models import find_folder

logger = logging.getLogger(__name__)

_CONFIG = "config.json"
# A header names tensors; that of a model with thousands of them has some hundred KB.
_MAX_HEADER_BYTES = 100 << 20
_LENGTH_BYTES = 8
_HUB_TIMEOUT_SECONDS = 10.0


def read_shapes(bases: Iterable[Base]) -> dict[str, dict[str, Any]]:
    """Return the shape of each base, by `base`, as plain JSON, as far as they can be read."""
    shapes: dict[str, dict[str, Any]] = {}
    for base in bases:
        try:
            shape = read_shape(base)
        except (OSError, ValueError, httpx.HTTPError) as error:
            logger.info("no sizes of %s could be read: %s", base.base, error)
            continue
        if shape is not None:
            shapes[base.base] = shape.to_wire()
    return shapes


def read_shape(base: Base) -> ModelShape | None:
    """Return the shape of a base model; none of a GGUF file, which is not read for it.

    Raises:
        OSError: A file cannot be read, or the hub does not answer.
        ValueError: A file is not what it should be.
        HTTPError: The hub does not answer.
    """
    if base.gguf_file is not None:
        return None
    folder = find_folder(base)
    if folder is None:
        return _read_from_hub(base)
    return _parse(folder / _CONFIG, count_parameters(folder))


def count_parameters(folder: Path) -> int | None:
    """Count the numbers in a folder's safetensors by their headers; none where one is broken."""
    try:
        tensors = {
            name: facts
            for path in sorted(folder.glob("*.safetensors"))
            for name, facts in _load_header(path).items()
            if name != "__metadata__"
        }
        return sum(math.prod(map(int, facts["shape"])) for facts in tensors.values()) or None
    except (OSError, ValueError, TypeError, KeyError) as error:
        logger.info("the weights in %s could not be counted: %s", folder, error)
        return None


def _load_header(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if length > _MAX_HEADER_BYTES:
            msg = f"{path} must begin with a header of safetensors, got one of {length} bytes"
            raise ValueError(msg)
        header = json.loads(file.read(length))
    return dict(header)


def _read_from_hub(base: Base) -> ModelShape | None:
    from huggingface_hub import HfApi, hf_hub_download  # noqa: PLC0415 - only for hub models

    path = hf_hub_download(
        base.base, _CONFIG, revision=base.revision, etag_timeout=_HUB_TIMEOUT_SECONDS
    )
    weights = (
        HfApi().model_info(base.base, revision=base.revision, timeout=_HUB_TIMEOUT_SECONDS)
    ).safetensors
    return _parse(Path(path), weights.total if weights else None)


def _parse(path: Path, parameters: int | None) -> ModelShape | None:
    config = json.loads(path.read_bytes())
    return parse_shape(config, parameters) if isinstance(config, dict) else None
