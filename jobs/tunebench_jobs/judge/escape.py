"""Make text harmless that people and models wrote, before a judge reads it.

A completion may hold the lines that end a completion in the judge's prompt, a ready-made verdict,
or the tokens that begin another turn of a chat. All of it stays readable and loses its meaning by a
backslash; characters that a reader cannot see are spelled out. The escape is the same for both
completions and in both orders, and ordinary text passes unchanged.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import pairwise

# Controls of terminals, of the direction of text, and of no language at all; halves of characters.
# Tabs, line breaks and form feeds stay, and so do the joiners that languages and emoji need.
_UNSEEN = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)
# What may stand between two letters of a word and leave it looking the same.
_GAP = (
    "[\u00ad\u034f\u061c\u115f\u1160\u180b-\u180f\u200b-\u200f\u2060-\u2064\u206a-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0]*"
)
# Cyrillic, Greek and other characters by the Latin letter, or the star, that they look like.
_LOOKALIKES = {
    "a": "\u0430\u1d00\u03b1",
    "c": "\u0441\u1d04\u03f2",
    "d": "\u0501",
    "e": "\u0435\u0454\u03b5",
    "g": "\u0261",
    "h": "\u04bb",
    "i": "\u0456\u0131\u03b9\u0269",
    "j": "\u0458\u03f3",
    "k": "\u043a\u03ba",
    "l": "\u04cf",
    "o": "\u043e\u03bf\u0585",
    "p": "\u0440\u03c1",
    "s": "\u0455\ua731",
    "t": "\u0442\u03c4",
    "u": "\u03c5\u057d",
    "v": "\u03bd\u0475",
    "w": "\u051d",
    "x": "\u0445\u03c7",
    "y": "\u0443\u03b3",
    "A": "\u0410\u0391",
    "B": "\u0412\u0392",
    "C": "\u0421\u03f9",
    "E": "\u0415\u0395",
    "H": "\u041d\u0397",
    "I": "\u0406\u0399",
    "J": "\u0408",
    "K": "\u041a\u039a",
    "M": "\u041c\u039c",
    "N": "\u039d",
    "O": "\u041e\u039f",
    "P": "\u0420\u03a1",
    "S": "\u0405",
    "T": "\u0422\u03a4",
    "W": "\u051c",
    "X": "\u0425\u03a7",
    "Y": "\u04ae\u03a5",
    "*": "\u2217\u2731\ufe61\u204e",
}
# Lines that begin or end a part of a judge's prompt, however they are spelled in detail.
_PARTS = ("start", "begin", "end", "answer", "response", "task")
# What starts and ends turns in the chat templates of open models.
_TURN = (
    r"<(?=\|[\w\u2581.:-]{1,40}\|>|</?SYS>>|/?start_of_turn>|end_of_turn>|[be]os>|/s>)"
    r"|\[(?=/?INST\])"
)
_QUOTES = "`~\"'"
_BRACKETED = re.compile(r"[<\[{(].{1,80}[>\])}]")
_RUN = re.compile(r"(?P<character>[^\w\s])(?P=character){2,}(?P<word>\w*)")


@dataclass(frozen=True)
class Delimiters:
    """What sets apart the parts of a judge's prompt."""

    # Whole lines.
    lines: frozenset[str] = field(default_factory=frozenset)
    # What stands on one line with the text that it sets apart.
    pieces: frozenset[str] = field(default_factory=frozenset)


def find_delimiters(rendered: str, placeholders: Collection[str]) -> Delimiters:
    """Return what stands next to the placeholders in a rendered judge prompt.

    The prompt is rendered once with unlikely words in place of task and completions, so that the
    delimiters of a user's own prompt set are found too.
    """
    lines = [line.strip() for line in rendered.splitlines() if line.strip()]
    any_of = re.compile("|".join(map(re.escape, placeholders)))
    filled = [bool(any_of.search(line)) for line in lines]
    beside = {
        line
        for position, line in enumerate(lines)
        if not filled[position] and any(filled[max(position - 1, 0) : position + 2])
    }
    pieces = {
        piece.strip()
        for line, has_place in zip(lines, filled, strict=True)
        if has_place
        for piece in any_of.split(line)
    }
    return Delimiters(frozenset(beside), frozenset(pieces - {""}))


# The same task is escaped for each variant and order.
@lru_cache(maxsize=64)
def escape_untrusted(text: str, delimiters: Delimiters) -> str:
    """Return `text` with what could pass for a part of the judge's prompt or reply defused."""
    seen = _UNSEEN.sub(_spell_out, text)
    places = sorted(set(_find_places(seen, delimiters)))
    parts = (seen[start:end] for start, end in pairwise([0, *places, len(seen)]))
    return "\\".join(parts)


def _spell_out(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape").decode()


def _find_places(text: str, delimiters: Delimiters) -> Iterator[int]:
    """Yield where a backslash is needed."""
    plain = text.isascii()
    folded = text if plain else text.translate(_build_folding())
    # Each character that may pass for a line break is one, for `^` and `$`.
    folded = re.sub(r"[\r\v\f\x85\u2028\u2029]", "\n", folded)
    for pattern in _build_patterns(delimiters, plain=plain):
        for match in pattern.finditer(folded):
            yield match.start("place")


@cache
def _build_folding() -> dict[int, str]:
    """Return for each character that looks like an ASCII one which that is."""
    folding: dict[int, str] = {
        ord(each): letter for letter, others in _LOOKALIKES.items() for each in others
    }
    # Full-width and mathematical letters.
    for code in (*range(0xFF01, 0xFF5F), *range(0x1D400, 0x1D800)):
        plain = unicodedata.normalize("NFKC", chr(code))
        if len(plain) == 1:
            folding[code] = folding.get(ord(plain), plain)
    return folding


@lru_cache(maxsize=16)
def _build_patterns(delimiters: Delimiters, *, plain: bool) -> tuple[re.Pattern[str], ...]:
    """Build what finds each place; `plain` text has no characters that hide between others."""
    gap = "" if plain else _GAP
    parts = "|".join(gap.join(part) for part in _PARTS)
    which, score, response = (gap.join(word) for word in ("which", "score", "response"))
    patterns = [
        rf"(?i:(?<![*=#<-])(?P<place>[*=#<-]{{3,}})[^\S\n]*{gap}(?:{parts}){gap}\b)",
        # `which_response_was_better`, `score_response1`, `score_response2`
        rf"(?i:(?:{which}|{score}){gap}(?P<place>_){gap}{response})",
        rf"(?:{_TURN})(?P<place>)",
        *(_build_line(line, gap) for line in sorted(delimiters.lines)),
        *(_build_piece(piece, gap) for piece in sorted(delimiters.pieces)),
    ]
    return tuple(re.compile(pattern, re.MULTILINE) for pattern in patterns if pattern)


def _build_line(line: str, gap: str) -> str:
    """Return what finds a line that could be taken for this one."""
    exact = rf"^[^\S\n]*{gap}(?P<place>{_loosen(line, gap)})[^\S\n]*{gap}$"
    return _build_anywhere(line, gap) or exact


def _build_piece(piece: str, gap: str) -> str:
    """Return what finds a line that begins like this piece; marks without a word are no such."""
    if not re.search(r"\w", piece):
        return _build_anywhere(piece, gap)
    return _build_anywhere(piece, gap) or rf"^[^\S\n]*{gap}(?P<place>{_loosen(piece, gap)})"


def _build_anywhere(text: str, gap: str) -> str:
    """Return what finds tags and the marks of quotations, wherever they stand, and ruled lines."""
    if _BRACKETED.fullmatch(text):
        return f"(?P<place>{_loosen(text, gap)})"
    run = _RUN.fullmatch(text)
    if run is None:
        return ""
    character = re.escape(run["character"])
    if run["character"] in _QUOTES:
        return f"(?<!{character})(?P<place>{character}{{3,}})"
    return "" if run["word"] else rf"^[^\S\n]*(?P<place>{character}{{3,}})[^\S\n]*$"


def _loosen(text: str, gap: str) -> str:
    """Return a pattern for a text in any spacing, with what cannot be seen within.

    What has marks is found in upper and lower case; a line of words alone is too ordinary.
    """
    words = [gap.join(map(re.escape, word)) for word in text.translate(_build_folding()).split()]
    spaced = rf"[^\S\n]+{gap}".join(words)
    return f"(?i:{spaced})" if re.search(r"[^\w\s:.,]", text) else spaced
