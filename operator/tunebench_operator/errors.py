"""What can go wrong in the operator package.

OperatorError
├── UserError       the user must act; exit code 2
└── RunLockedError  another process drives the same run; exit code 2
"""

from __future__ import annotations


class OperatorError(Exception):
    """Root of the errors of the operator package."""


class UserError(OperatorError):
    """Something that the user gave must change."""


class RunLockedError(UserError):
    """Another process drives this run at this moment."""
