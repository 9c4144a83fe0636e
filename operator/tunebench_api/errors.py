"""What is wrong with a BenchmarkRun.

ApiError
└── InvalidRunError     one or more fields must change; carries every problem found
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

# How messages begin that concern a field or an option.
_FIELD = re.compile(r"`((?:spec|metadata)\b[^`\n]*|--[a-z-]+)` (.+)", re.DOTALL)


@dataclass(frozen=True)
class Problem:
    """One field that must change."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"`{self.field}` {self.message}" if self.field else self.message

    def to_wire(self) -> dict[str, str]:
        """Return plain JSON values; the field is empty where the message concerns none."""
        return {"field": self.field, "message": self.message}


def parse_problem(text: str) -> Problem:
    """Return the problem that a message describes, with its field if it begins with one."""
    match = _FIELD.fullmatch(text)
    return Problem(match[1], match[2]) if match else Problem("", text)


def build_problem_document(problems: Iterable[Problem]) -> dict[str, Any]:
    """Build what `-o json` prints in place of an answer."""
    return {"problems": [problem.to_wire() for problem in problems]}


class ApiError(Exception):
    """Root of the errors of the API package."""


class InvalidRunError(ApiError):
    """The resource breaks its schema, or asks for what is not supported yet."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        """Join the problems, one to a line."""
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems
