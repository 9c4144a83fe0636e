"""The numbers of the public benchmark of 2024, and what kind of model a base is."""

from __future__ import annotations

import json
import re
from enum import StrEnum
from functools import cache
from importlib import resources

from tunebench_api.v1alpha1 import Wire

_FILE = "published_2024.json"
# Words of a model's id, where the table does not know the model.
_CODE = re.compile(r"cod(?:e|er|ing)|codestral|devstral|program|swe", re.IGNORECASE)
_INSTRUCT = re.compile(r"instruct|chat|(?:^|[-_.])(?:it|sft|dpo)(?:[-_.]|$)", re.IGNORECASE)


class Focus(StrEnum):
    """What a base model was made for."""

    CODE = "Code"
    GENERAL = "General"


class Form(StrEnum):
    """Whether a base model was taught to follow instructions."""

    BASE = "Base"
    INSTRUCT = "Instruct"


class PublishedModel(Wire):
    """A row of the public table; rates are shares of comparisons won, in percent."""

    name: str
    size_billions: float
    win_rate_pct: float
    untuned_pct: float | None
    base: str
    focus: Focus
    form: Form


class Published(Wire):
    """The public table, with its source."""

    source: str
    method: str
    models: tuple[PublishedModel, ...]

    def find(self, base: str | None) -> PublishedModel | None:
        """Return the row of a Hugging Face id; ids are alike in upper and lower case."""
        wanted = (base or "").casefold()
        return next((each for each in self.models if each.base.casefold() == wanted), None)


@cache
def load_published() -> Published:
    """Return the table that comes with this package."""
    text = (resources.files("tunebench_jobs.report") / _FILE).read_text(encoding="utf-8")
    return Published.from_wire(json.loads(text))


def find_focus(base: str) -> Focus:
    """Say what a base was made for: as the public table knows it, else by the words of its id."""
    known = load_published().find(base)
    if known:
        return known.focus
    return Focus.CODE if _CODE.search(_last(base)) else Focus.GENERAL


def find_form(base: str) -> Form:
    """Say whether a base follows instructions, likewise."""
    known = load_published().find(base)
    if known:
        return known.form
    return Form.INSTRUCT if _INSTRUCT.search(_last(base)) else Form.BASE


def build_lineage(base: str) -> str:
    """Return what a base and its instructed sibling have in common in their ids."""
    words = re.split(r"[-_.]+", base.casefold())
    return "-".join(word for word in words if word not in {"base", "hf", "instruct", "chat", "it"})


def _last(base: str) -> str:
    return base.rpartition("/")[2]
