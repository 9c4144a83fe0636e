"""Numbers and names as people read them."""

from __future__ import annotations

import re
from urllib.parse import urlencode

from markupsafe import Markup

from tunebench_api.contract import VariantKind
from tunebench_api.v1alpha1 import Control
from tunebench_jobs.score.cells import KIND_WORDS
from tunebench_jobs.score.results import RankSet, Rate

_TO = "\N{EN DASH}"
NOTHING = _TO
_MINUS = "\N{MINUS SIGN}"
_CONTROLS = {
    Control.NULL: "a constant answer, must lose",
    Control.SELF: "the baseline against itself, must come out even: 50, tie-adjusted",
    Control.PADDED: "the baseline with empty words added, must not win: 50 or less, tie-adjusted",
}
# What cannot be seen, steers a terminal, turns text round, or is no character at all; the same as
# on the page (`text.js`), with halves of characters.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff]"
)


def show_hidden(text: str) -> str:
    """Return text with its hidden characters shown by their numbers."""
    return _HIDDEN.sub(lambda match: f"U+{ord(match[0]):04X}", text)


def finalize(value: object) -> object:
    """Return what a template prints: strangers' words with their hidden characters shown."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return show_hidden(value)


def format_number(value: float | None, digits: int = 1) -> str:
    """Return a number with so many digits after the point."""
    return NOTHING if value is None else f"{value:,.{digits}f}".replace("-", _MINUS)


def format_pct(value: float | None) -> str:
    """Return a share in percent, which no line break tears apart."""
    return NOTHING if value is None else f"{format_number(value)}\N{NO-BREAK SPACE}%"


def format_signed(value: float | None) -> str:
    """Return a difference with its sign."""
    return NOTHING if value is None else f"{value:+.1f}".replace("-", _MINUS)


def format_ends(rate: Rate | None) -> str:
    """Return the ends of an interval, such as `36.8 to 44.6`."""
    if rate is None or rate.lo is None or rate.hi is None:
        return "no interval"
    return f"{format_number(rate.lo)} to {format_number(rate.hi)}"


def format_signed_ends(rate: Rate | None) -> str:
    """Return the ends of the interval of a difference."""
    if rate is None or rate.lo is None or rate.hi is None:
        return "no interval"
    return f"{format_signed(rate.lo)} to {format_signed(rate.hi)}"


def format_rank(rank: RankSet | None) -> str:
    """Return the ranks that the data allow, such as 1 to 4, with a dash."""
    if rank is None:
        return NOTHING
    return f"{rank.low}" if rank.low == rank.high else f"{rank.low}{_TO}{rank.high}"


def format_count(count: int, word: str) -> str:
    """Return a count with its word, such as `3 judges`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def format_usd(cost: float | None) -> str:
    """Return an amount of money."""
    return "not known" if cost is None else f"${cost:,.2f}"


def format_hours(hours: float | None) -> str:
    """Return a time in hours, or in minutes where it is short."""
    if hours is None:
        return NOTHING
    return f"{hours:,.1f} h" if hours >= 1 else f"{60 * hours:.0f} min"


def join(words: list[str]) -> str:
    """Return words as part of a sentence."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def name_kind(kind: VariantKind) -> str:
    """Return what a variant is."""
    return KIND_WORDS[kind]


def name_control(control: Control | None) -> str:
    """Return what a control is and what is expected of it."""
    return _CONTROLS.get(control, "") if control else ""


def link_samples(**filters: str) -> str:
    """Return the address of the sample browser with some filters set."""
    return f"#samples?{urlencode(filters, errors='replace')}"
