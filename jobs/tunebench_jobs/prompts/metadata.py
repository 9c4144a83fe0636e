"""What a prompt set says beside its templates: name, licence, layout, settings for diffs."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from tunebench_jobs.diffs import (
    DiffOptions,
    Extensions,
    Options2024,
    OptionsHead,
    PromptFormat,
    build_extensions,
)
from tunebench_jobs.errors import InputError
from tunebench_jobs.prompts.prompt_set import REASON

METADATA_FILE = "promptset.toml"
# PR-Agent's own table of languages, in its settings folder.
LANGUAGES_TABLE = "language_extension_map_org"

_OPTIONS: Mapping[PromptFormat, type[Options2024 | OptionsHead]] = {
    "2024": Options2024,
    "HEAD": OptionsHead,
}
_LANGUAGES = TypeAdapter(dict[str, list[str]])


class Metadata(BaseModel):
    """What `promptset.toml` may say."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str | None = None
    licence: str | None = None
    format: PromptFormat | None = None
    diff: dict[str, Any] = Field(default_factory=dict)

    def build_options(self, style: PromptFormat) -> DiffOptions:
        """Return PR-Agent's settings of the generation, with those of the table `[diff]`.

        Raises:
            InputError: A setting is unknown or has a wrong value, or another format is given.
        """
        if self.format not in {None, style}:
            raise InputError(
                f"`format` in {METADATA_FILE} must be the one that the templates use, {style!r}, "
                f"got {self.format!r}",
                reason=REASON,
            )
        kind = _OPTIONS[style]
        try:
            # TOML has arrays where the type is a tuple.
            return kind.model_validate_json(TypeAdapter(Any).dump_json(self.diff))
        except ValidationError as error:
            first = error.errors()[0]
            known = ", ".join(sorted(set(kind.model_fields) - {"style"}))
            raise InputError(
                f"`diff.{_build_place(first['loc'])}` in {METADATA_FILE} must be a setting of "
                f"layout {style} ({known}) with a value of its kind, got: {first['msg']}",
                reason=REASON,
            ) from error


def load_toml(path: Path, shown: str) -> dict[str, Any]:
    """Load a TOML file; messages call it `shown`.

    Raises:
        InputError: It cannot be read.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(
            f"{shown} must be a readable TOML file in UTF-8, got: {error}", reason=REASON
        ) from error


def load_metadata(path: Path) -> Metadata:
    """Load `promptset.toml`, which may be absent.

    Raises:
        InputError: It says what it may not say.
    """
    if not path.is_file():
        return Metadata()
    try:
        return Metadata.model_validate(load_toml(path, METADATA_FILE))
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"`{_build_place(first['loc'])}` in {METADATA_FILE} must be one of name, licence, "
            f"format ('2024' or 'HEAD') and the table diff, got: {first['msg']}",
            reason=REASON,
        ) from error


def parse_languages(table: object, shown: str) -> Extensions:
    """Parse PR-Agent's table of the extensions of each language.

    Raises:
        InputError: It is not such a table.
    """
    try:
        return build_extensions(_LANGUAGES.validate_python(table, strict=True))
    except ValidationError as error:
        raise InputError(
            f"`{LANGUAGES_TABLE}` in {shown} must be a table of lists of extensions, got: "
            f"{error.errors()[0]['msg']}",
            reason=REASON,
        ) from error


def _build_place(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location)
