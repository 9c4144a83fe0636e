"""What the environment says, read once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from tunebench_api.places import SAMPLES_FOLDER

DEFAULT_STORE = "runs"


class Settings(BaseModel):
    """Places that a command needs."""

    model_config = ConfigDict(frozen=True)

    # Folder of the builtin prompt sets: beside the packages in a checkout, set in an image.
    prompts_dir: Path
    # Folder or s3:// address.
    store: str = DEFAULT_STORE
    # Folder of the files that `sample://` names: likewise.
    samples_dir: Path


def load_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read TUNEBENCH_PROMPTS_DIR, TUNEBENCH_SAMPLES_DIR and TUNEBENCH_STORE; empty is unset."""
    checkout = Path(__file__).resolve().parents[2]
    return Settings(
        prompts_dir=Path(environment.get("TUNEBENCH_PROMPTS_DIR") or checkout / "prompts"),
        samples_dir=Path(environment.get("TUNEBENCH_SAMPLES_DIR") or checkout / SAMPLES_FOLDER),
        store=environment.get("TUNEBENCH_STORE") or DEFAULT_STORE,
    )
