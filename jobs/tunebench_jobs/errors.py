"""What can go wrong in a job.

    JobError
    ├── InputError          the user must act; exit code 2, never retried
    └── RetryableError      the world may heal; exit code 1, retried by the planner
        └── NoAnswerError   a model did not answer; another try may help (`llm`)

Each error carries a `reason`: the CamelCase word that conditions and reports show.
"""

from __future__ import annotations

# What torch's allocators, CUDA's libraries and the system say.
_MEMORY_WORDS = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "cublas_status_alloc_failed",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch or of the system means that memory has run out."""
    if isinstance(error, MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(word in text for word in _MEMORY_WORDS)


class JobError(Exception):
    """A stage cannot go on; `reason` is the word for machines, the message the one for people."""

    exit_code = 1

    def __init__(self, message: str, *, reason: str) -> None:
        """Keep the reason beside the message."""
        super().__init__(message)
        self.reason = reason


class InputError(JobError):
    """Something that the user gave must change before the stage can succeed."""

    exit_code = 2

    def __init__(self, message: str, *, reason: str = "InvalidInput") -> None:
        """Default to the general reason."""
        super().__init__(message, reason=reason)


class RetryableError(JobError):
    """The same input may succeed later: a server that is away, a disk that is full."""

    def __init__(self, message: str, *, reason: str = "Unavailable") -> None:
        """Default to the general reason."""
        super().__init__(message, reason=reason)
