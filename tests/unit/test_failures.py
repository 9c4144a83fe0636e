"""How tools of the command line end."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from tunebench_jobs.errors import InputError
from tunebench_jobs.failures import run_tool
from tunebench_jobs.files import replace_file


def fail(error: BaseException) -> str:
    """Raise an error."""
    raise error


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        pytest.param(InputError("`--out` must be new"), 2, "`--out` must be new", id="ours"),
        pytest.param(
            PermissionError(errno.EACCES, "Permission denied", "/data/x"),
            2,
            "`/data/x` must be a path that can be used: Permission denied",
            id="a path that is denied",
        ),
        pytest.param(OSError(errno.EIO, "I/O error"), 1, "the system says", id="a broken disk"),
    ],
)
def test_what_failed_is_told_in_words(
    error: Exception, code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Programs get a document, too, and the code says whether time may help."""
    found = run_tool(lambda: fail(error), "json")
    (problem,) = json.loads(capsys.readouterr().out)["problems"]

    assert found == code
    assert words in f"`{problem['field']}` {problem['message']}"


def test_an_interrupt_has_a_code_of_its_own(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """And says what is kept."""
    assert run_tool(lambda: fail(KeyboardInterrupt()), "text", interrupted="all is kept") == 130
    assert capsys.readouterr().out == ""
    assert "all is kept" in caplog.text


def test_a_file_that_cannot_be_made_has_the_name_that_its_user_knows() -> None:
    """Not that of the one that would take its place."""
    with pytest.raises(OSError) as told, replace_file(Path("/proc/prs.jsonl")):  # noqa: PT011 - by its name
        pass

    assert told.value.filename == "/proc/prs.jsonl"
