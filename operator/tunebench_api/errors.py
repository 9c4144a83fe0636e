"""What is wrong with a BenchmarkRun.

ApiError
└── InvalidRunError     one or more fields must change; carries every problem found
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One field that must change."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"`{self.field}` {self.message}"


class ApiError(Exception):
    """Root of the errors of the API package."""


class InvalidRunError(ApiError):
    """The resource breaks its schema, or asks for what is not supported yet."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        """Join the problems, one to a line."""
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems
