"""What the page can do: list candidates, show one, check an answer, decide, undo."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, timedelta
from threading import Lock
from typing import Any

from pydantic import Field

from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.answers import parse_answer
from tunebench_jobs.curate.candidates import Candidates, build_item
from tunebench_jobs.curate.decision_file import ChangedMeanwhileError, DecisionFile, Key
from tunebench_jobs.data.curation import Matched, match_decisions
from tunebench_jobs.data.decisions import Choice, Decision, Edits
from tunebench_jobs.data.parse_row import parse_moment
from tunebench_jobs.records import Record
from tunebench_jobs.rows import PullRequest

_CHANGED = "somebody else decided about this pull request meanwhile; look at it again"


class RefusedError(Exception):
    """A request that the page must not have made as it is; the message is for its reader."""


class Wish(Record):
    """What a person wants to be decided; no decision: the one there is is withdrawn.

    `base` is the time of the decision that the page showed, so that nobody overwrites what they
    have not seen.
    """

    place: int = Field(ge=0)
    decision: Choice | None
    reason: str = Field(default="", max_length=200)
    note: str = Field(default="", max_length=4000)
    edits: Edits = Edits()
    base: str | None = None


@dataclass(frozen=True)
class _Step:
    """One change of the file, for undoing it."""

    place: int
    before: Decision | None
    after: Decision | None


class Desk:
    """The candidates and the file of decisions, as one person works with them."""

    def __init__(
        self, candidates: Candidates, file: DecisionFile, *, by: str, clock: Callable[[], str]
    ) -> None:
        """Keep what is worked on; `by` signs the decisions, `clock` tells their time."""
        self._candidates = candidates
        self._file = file
        self._by = by
        self._clock = clock
        self._steps: list[_Step] = []
        self._lock = Lock()
        self._matched: tuple[Mapping[Key, Decision], Matched] | None = None

    def build_listing(self) -> dict[str, Any]:
        """Return the whole list, and what is wanted of it."""
        candidates = self._candidates
        wanted = {
            name: {value: counts["chosen"] for value, counts in facet["counts"].items()}
            for name, facet in candidates.wanted.items()
            if name in {"language", "size", "kind"}
        }
        return {
            "items": [
                build_item(item, suggested=place < candidates.per_tool)
                for place, item in enumerate(candidates.items)
            ],
            "wanted": {"total": candidates.wanted["chosen"], **wanted},
            "tools": candidates.find_tools(),
            "by": self._by,
            "file": str(self._file.path),
            **self.build_decisions(),
        }

    def build_decisions(self) -> dict[str, Any]:
        """Return the decisions by place in the list, and how many hold for nothing here."""
        matched = self._match()
        return {
            "decisions": {
                str(place): decision.model_dump(mode="json")
                for place, decision in matched.by_place.items()
            },
            "stale": [decision.pr for decision in matched.stale],
            "unknown": len(matched.unknown),
        }

    def build_pull(self, place: int) -> dict[str, Any]:
        """Return one pull request, with its answers and what is wrong with them."""
        pr = self._read(place)
        answers = {
            tool: {"text": pr.answers.get(tool) or "", **self._check(pr, tool)}
            for tool in self._candidates.find_tools()
        }
        return pr.model_dump(mode="json", exclude={"answers", "languages"}) | {"answers": answers}

    def check_answer(self, place: int, tool: Tool, text: str) -> dict[str, Any]:
        """Say whether an edited answer holds to the schema of its tool."""
        return self._check(self._read(place), tool, text)

    def decide(self, wish: Wish) -> dict[str, Any]:
        """Save a decision.

        Raises:
            RefusedError: An edit breaks its schema, or somebody else was faster.
        """
        edits = self._clean_edits(wish)
        with self._lock:
            subject = self._candidates.items[wish.place].subject
            shown = self._match().by_place.get(wish.place)
            if (shown.at if shown else None) != wish.base:
                raise RefusedError(_CHANGED)
            before = self._file.load().get((subject.id, subject.patch))
            if before is None and wish.decision is None:
                raise RefusedError("there is no decision of its own to take back")
            after = self._build_decision(wish, edits, before) if wish.decision else None
            step = _Step(wish.place, before, after)
            self._change(step)
            self._steps.append(step)
        return self._build_change(wish.place)

    def undo(self) -> dict[str, Any]:
        """Take the last decision of this session back.

        Raises:
            RefusedError: There is none, or somebody else has changed it since.
        """
        with self._lock:
            if not self._steps:
                raise RefusedError("there is nothing to undo")
            step = self._steps[-1]
            try:
                self._change(_Step(step.place, before=step.after, after=step.before))
            except RefusedError:
                # It will never be possible again.
                self._steps.pop()
                raise
            self._steps.pop()
        return self._build_change(step.place)

    def count(self) -> Mapping[Choice, int]:
        """Return how many candidates have which decision."""
        made = [decision.decision for decision in self._match().by_place.values()]
        return {choice: made.count(choice) for choice in Choice}

    def _match(self) -> Matched:
        decisions = self._file.load()
        if self._matched is None or self._matched[0] is not decisions:
            subjects = [item.subject for item in self._candidates.items]
            self._matched = decisions, match_decisions(subjects, decisions.values())
        return self._matched[1]

    def _build_change(self, place: int) -> dict[str, Any]:
        decision = self._match().by_place.get(place)
        return {"place": place, "decision": decision and decision.model_dump(mode="json")}

    def _build_decision(self, wish: Wish, edits: Edits, before: Decision | None) -> Decision:
        subject = self._candidates.items[wish.place].subject
        return Decision.model_validate(
            {
                "pr": subject.id,
                "patch": subject.patch,
                "decision": wish.decision,
                "reason": wish.reason.strip(),
                "note": wish.note.strip(),
                "edits": edits,
                "by": self._by,
                "at": _tell_later(self._clock(), before),
            }
        )

    def _read(self, place: int) -> PullRequest:
        if not 0 <= place < len(self._candidates.items):
            raise RefusedError(f"there is no candidate {place}; load the page again")
        return self._candidates.read(place)

    def _change(self, step: _Step) -> None:
        subject = self._candidates.items[step.place].subject
        try:
            self._file.change((subject.id, subject.patch), step.after, expected=step.before)
        except ChangedMeanwhileError as error:
            raise RefusedError(_CHANGED) from error

    def _clean_edits(self, wish: Wish) -> Edits:
        """Return the edits that change something.

        Raises:
            RefusedError: One of them breaks its schema.
        """
        pr = self._read(wish.place)
        answers = {
            tool: text
            for tool, text in wish.edits.answers.items()
            if text != (pr.answers.get(tool) or "")
        }
        for tool, text in answers.items():
            checked = self._check(pr, tool, text)
            if checked["level"] != "strict":
                raise RefusedError(
                    f"the answer to {tool} must hold to its schema: {checked['problem']}"
                )
        title = wish.edits.title
        if title is not None and not title.strip():
            raise RefusedError("the title must have words")
        return Edits(title=None if title == pr.title else title, answers=answers)

    def _check(self, pr: PullRequest, tool: Tool, text: str | None = None) -> dict[str, Any]:
        """Check an answer; whether it must name files is told by the one that it replaces."""
        original = pr.answers.get(tool) or ""
        names_files = parse_answer(tool, original, semantic_files=True).level != "invalid"
        text = original if text is None else text
        if not text.strip():
            return {"level": "none", "problem": "there is no answer"}
        parsed = parse_answer(tool, text, semantic_files=names_files)
        return {"level": parsed.level, "problem": parsed.problem}


def _tell_later(now: str, before: Decision | None) -> str:
    """Return the time, or one just after a decision that is replaced: its clock was ahead."""
    if before is None or parse_moment(before.at) < parse_moment(now):
        return now
    try:
        later = parse_moment(before.at).astimezone(UTC) + timedelta(milliseconds=1)
    except OverflowError:
        return now
    return later.isoformat(timespec="milliseconds").replace("+00:00", "Z")
