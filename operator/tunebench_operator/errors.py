"""What can go wrong in the operator package.

OperatorError
├── UserError            the user must act; exit code 2
│   └── RunLockedError   another process drives the same run; exit code 2
└── ClusterError         the API server refused a request, or did not answer
    └── KindMissingError the API server does not know a kind: its operator is not installed
"""

from __future__ import annotations


class OperatorError(Exception):
    """Root of the errors of the operator package."""


class UserError(OperatorError):
    """Something that the user gave must change."""


class RunLockedError(UserError):
    """Another process drives this run at this moment."""


class ClusterError(OperatorError):
    """The API server refused a request, or did not answer."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        """Keep the HTTP status; none where there was no answer."""
        super().__init__(message)
        self.status = status

    @property
    def lasting(self) -> bool:
        """Whether the same request will be refused again."""
        return self.status in {400, 403, 404, 405, 415, 422}


class KindMissingError(ClusterError):
    """The API server does not know a kind."""
