"""Find the prompt set that a run names, with the run's own values for its variables."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tunebench_api.v1alpha1 import PromptsSpec, Variable
from tunebench_jobs.errors import InputError
from tunebench_jobs.local_paths import parse_local_path
from tunebench_jobs.prompts import PromptSet, builtin_prompts_dir, load_prompt_set
from tunebench_jobs.prompts.variables import Value

_WHOLE_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})")


@dataclass(frozen=True)
class ConfiguredPrompts:
    """A prompt set and the values that the run gives to its variables."""

    prompt_set: PromptSet
    overrides: dict[str, Value]


def load_configured_prompts(spec: PromptsSpec, prompts_dir: Path | None) -> ConfiguredPrompts:
    """Load the prompt set that `spec` names.

    Args:
        spec: The part of the run.
        prompts_dir: Folder of the sets that have a name, where the caller names one.

    Raises:
        InputError: It does not exist or does not load.
    """
    overrides = parse_variables(spec.variables)
    folder = find_prompts(spec, prompts_dir)
    return ConfiguredPrompts(load_prompt_set(folder, extra_variables=overrides), overrides)


def find_prompts(spec: PromptsSpec, prompts_dir: Path | None) -> Path:
    """Return the folder of the prompt set that `spec` names.

    Raises:
        InputError: There is none.
    """
    if spec.config_map_ref is not None:
        # The operator mounts it; without one, validation refuses the field.
        return builtin_prompts_dir(prompts_dir) / spec.config_map_ref.name
    if spec.uri is not None:
        return parse_local_path(spec.uri, "spec.prompts.uri")
    folder = builtin_prompts_dir(prompts_dir)
    known = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if spec.builtin not in known:
        msg = f"`spec.prompts.builtin` must be one of {', '.join(known)}, got `{spec.builtin}`"
        raise InputError(msg, reason="InvalidPromptSet")
    return folder / spec.builtin


def parse_variables(variables: Iterable[Variable]) -> dict[str, Value]:
    """Give true, false and whole numbers their type."""
    return {variable.name: _parse_value(variable.value) for variable in variables}


def _parse_value(text: str) -> Value:
    if text in {"true", "false"}:
        return text == "true"
    return int(text) if _WHOLE_NUMBER.fullmatch(text) else text
