"""What `tunebench run` shows while it works."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from tunebench_api.v1alpha1 import BenchmarkRunStatus, ModelStatus, StageStatus
from tunebench_operator.local.display import Display, build_table, format_seconds

TRAINING = BenchmarkRunStatus(
    stages=(
        StageStatus(name="data", state="Succeeded", reason="Succeeded", message="90 examples"),
        StageStatus(name="train/a", state="Running", reason="Running"),
        StageStatus(name="train/b", state="Failed", reason="LossNotFinite", message="loss is nan"),
    ),
    models=(
        ModelStatus(
            name="a",
            stage="Train",
            percent=42,
            loss="1.25",
            eta_seconds=75,
            tokens_per_second="201",
        ),
        ModelStatus(name="b", stage="Failed", message="loss is nan"),
    ),
)


def render(table: object, width: int = 160) -> str:
    """Render for a terminal of that width."""
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    text: str = console.file.getvalue()  # type: ignore[attr-defined] # it is the StringIO above
    return text


def test_a_line_for_each_model() -> None:
    """Stage, percent, loss, throughput and time left stand in the model's line."""
    lines = render(build_table(TRAINING, 160)).splitlines()

    line = next(each for each in lines if each.startswith("a "))
    assert line.split() == ["a", "Train", "42%", "1m15s", "1.25", "201"]
    assert any("loss is nan" in each for each in lines)


@pytest.mark.parametrize("message", ["see [/x] of [bold]", "\x1b[31mred\x1b]0;title\x07"])
def test_messages_are_text(message: str) -> None:
    """Brackets are no markup that fails, and a message cannot steer the terminal."""
    status = BenchmarkRunStatus(
        stages=(StageStatus(name="train/m", state="Failed", reason="Odd", message=message),),
        models=(ModelStatus(name="m", stage="Failed", message=message),),
    )
    output = io.StringIO()
    with Display(Console(file=output, width=160)) as display:
        display.show(status)
    said = render(build_table(status, 160)) + output.getvalue()

    assert said.count(message.replace("\x1b", "\ufffd").replace("\x07", "\ufffd")) == 2
    assert said.replace("\n", "").isprintable()


def test_a_narrow_terminal_gets_whole_words() -> None:
    """In 40 columns stage and time left can be read."""
    lines = render(build_table(TRAINING, 40), width=40).splitlines()

    assert any(line.split() == ["a", "Train", "42%", "1m15s"] for line in lines)
    assert all(len(line) <= 40 for line in lines)


def test_without_a_terminal_a_line_is_printed_once() -> None:
    """A log file gets a line when something changes, and none when nothing does."""
    output = io.StringIO()
    display = Display(Console(file=output, width=160))
    with display:
        display.show(TRAINING)
        first = output.getvalue()
        display.show(TRAINING)

    assert output.getvalue() == first
    assert "stage train/b: Failed (LossNotFinite: loss is nan)" in first
    assert "model a: train 40%, loss 1.25" in first


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        pytest.param(0, "0s", id="zero"),
        pytest.param(59, "59s", id="seconds"),
        pytest.param(61, "1m01s", id="minutes"),
        pytest.param(-5, "0s", id="overdue"),
    ],
)
def test_durations_read_well(seconds: int, text: str) -> None:
    """An estimate that has passed is no negative time."""
    assert format_seconds(seconds) == text
