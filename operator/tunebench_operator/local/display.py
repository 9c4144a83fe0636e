"""What `tunebench run` shows while it works: a line for each model."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tunebench_api.v1alpha1 import BenchmarkRunStatus, ModelStatus
from tunebench_operator.printing import make_printable

# Without a terminal, a line is repeated only when a tenth of the stage is done.
_PERCENT_STEP = 10
_LONG_STAGES = {"Train", "Generate", "Judge"}
# Narrower terminals get the columns that tell most.
_WIDE = 72
_COLUMNS = ("MODEL", "STAGE", "DONE", "ETA", "LOSS", "TOKENS/S", "MESSAGE")
_NARROW_COLUMNS = 4


class Display:
    """Live lines on a terminal, plain lines elsewhere; always on standard error."""

    def __init__(self, console: Console) -> None:
        """Choose by what the console is."""
        self._console = console
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._printed: dict[str, str] = {}
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    def show(self, status: BenchmarkRunStatus) -> None:
        """Show where the run stands."""
        if self._live:
            self._live.update(build_table(status, self._console.width), refresh=True)
        else:
            self._print_changes(status)

    def _print_changes(self, status: BenchmarkRunStatus) -> None:
        lines = {
            f"stage {stage.name}": f"{stage.state}{_because(stage.reason, stage.message)}"
            for stage in status.stages
            if stage.state not in {"Pending", "Skipped"}
        }
        lines |= {
            f"model {model.name}": describe_model(model, step=_PERCENT_STEP)
            for model in status.models
            if model.percent and model.stage in _LONG_STAGES
        }
        for name, line in lines.items():
            if self._printed.get(name) != line:
                seconds = time.monotonic() - self._started
                self._console.print(
                    make_printable(f"[{seconds:6.1f}s] {name}: {line}"),
                    markup=False,
                    highlight=False,
                    soft_wrap=True,
                )
        self._printed |= lines


def build_table(status: BenchmarkRunStatus, width: int) -> Table:
    """Build the live view: shared stages in the title, then a line for each model."""
    shared = [stage for stage in status.stages if "/" not in stage.name]
    title = "  ".join(f"{stage.name}: {stage.state}" for stage in shared)
    table = Table(title=Text(title), title_justify="left", box=None, pad_edge=False)
    columns = _COLUMNS if width >= _WIDE else _COLUMNS[:_NARROW_COLUMNS]
    for column in columns:
        table.add_column(column, no_wrap=True, overflow="ellipsis")
    for model in status.models:
        cells = (
            model.name,
            model.stage,
            "" if model.percent is None else f"{model.percent}%",
            "" if model.eta_seconds is None else format_seconds(model.eta_seconds),
            model.loss or "",
            model.tokens_per_second or "",
            model.message.split("\n", 1)[0][:80],
        )
        # Text, because brackets in a message are no markup.
        table.add_row(*(Text(make_printable(cell)) for cell in cells[: len(columns)]))
    return table


def describe_model(model: ModelStatus, *, step: int) -> str:
    """Return one line for a model, the percentage rounded down to `step`."""
    percent = (model.percent or 0) // step * step
    parts = [f"{model.stage.lower()} {percent}%"]
    if model.stage == "Train" and model.loss:
        parts.append(f"loss {model.loss}")
    return ", ".join(parts)


def format_seconds(seconds: int) -> str:
    """Return a duration as people read it."""
    minutes, rest = divmod(max(seconds, 0), 60)
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


def _because(reason: str, message: str) -> str:
    shown = message.split("\n", 1)[0][:200]
    return (
        f" ({reason}: {shown})"
        if shown and reason not in {"Running", "Succeeded"}
        else (f" ({shown})" if shown and reason == "Succeeded" else "")
    )
