"""From trained parameters to a checkpoint that can be served."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file

from tunebench_api.v1alpha1 import TuningMethod
from tunebench_jobs.checkpoints import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    CheckpointFacts,
    check_adapter,
    save_manifest,
)
from tunebench_jobs.files import save_text
from tunebench_jobs.train.prepare import build_adapter_keys


def save_checkpoint(
    folder: Path, model: Any, tokenizer: Any, trained: Mapping[str, Any], facts: CheckpointFacts
) -> None:
    """Write a checkpoint, its manifest last.

    Raises:
        InputError: The adapter is partial, not finite or changes nothing.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tokenizer.save_pretrained(folder)
    if facts.method is TuningMethod.FULL:
        _save_full(folder, model, trained)
    else:
        _save_adapter(folder, model, trained, facts)
    save_manifest(folder, facts)


def _save_full(folder: Path, model: Any, trained: Mapping[str, Any]) -> None:
    parameters = dict(model.named_parameters())
    # Tied weights have one parameter and several names in the state; buffers are not trained.
    names = {id(parameter): name for name, parameter in parameters.items()}
    state = {
        key: trained[names[id(value)]] if id(value) in names else value
        for key, value in model.state_dict(keep_vars=True).items()
    }
    model.save_pretrained(folder, state_dict=state)


def _save_adapter(
    folder: Path, model: Any, trained: Mapping[str, Any], facts: CheckpointFacts
) -> None:
    tensors = {
        name: tensor.contiguous()
        for name, tensor in get_peft_model_state_dict(model, state_dict=dict(trained)).items()
    }
    check_adapter(tensors, build_adapter_keys(model))
    save_file(tensors, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    model.peft_config["default"].save_pretrained(folder)
    path = folder / ADAPTER_CONFIG
    config = json.loads(path.read_bytes())
    # PEFT puts the folder of this machine there, and lists in the order of a set.
    config |= {
        "base_model_name_or_path": facts.base,
        "revision": facts.revision,
        "inference_mode": True,
        "target_modules": sorted(config["target_modules"]),
    }
    save_text(path, json.dumps(config, indent=1, sort_keys=True))
