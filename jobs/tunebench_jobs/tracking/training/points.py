"""What a training says to a tracker's process, and what that says back: a line of JSON each."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from tunebench_jobs.records import Record

LOSS = "train/loss"
LEARNING_RATE = "train/learning_rate"
GRADIENT_NORM = "train/gradient_norm"
TOKENS = "train/tokens"


class Kind(StrEnum):
    """The trackers."""

    TENSORBOARD = "tensorBoard"
    MLFLOW = "mlflow"
    WANDB = "wandb"


class Point(Record):
    """The metrics of one step."""

    line: Literal["point"] = "point"
    step: int
    # Seconds since 1970.
    time: float
    metrics: dict[str, float]


class Start(Record):
    """First line: where to log, and what is known of the training."""

    line: Literal["start"] = "start"
    kind: Kind
    run: str
    model: str
    # Name of the training's result, by which a tracker's own run is found again.
    digest: str
    settings: dict[str, str]
    # Where files of the tracker go; they stay with the checkpoint.
    folder: str
    # What was logged, line by line, so that a later attempt can say it again.
    journal: str
    # Steps before this attempt; what was logged beyond them is forgotten.
    done: int
    # Those steps as the resume point knows them, for a journal that another machine has.
    past: tuple[Point, ...] = ()
    # Address of a server; absent: the tracker's own, or none.
    uri: str | None = None
    # Experiment or project.
    project: str = ""
    entity: str | None = None
    offline: bool = False


class End(Record):
    """Last line; a training that was killed sends none."""

    line: Literal["end"] = "end"
    succeeded: bool


class Told(Record):
    """What the process says: where it logs, what goes wrong, or how it ended."""

    where: str = ""
    problem: str = ""
    # The last step that the tracker was given, and whether that is all.
    last_step: int | None = None
    complete: bool = False


Line = Annotated[Start | Point | End, Field(discriminator="line")]
_LINE: TypeAdapter[Start | Point | End] = TypeAdapter(Line)


def parse_line(text: str) -> Start | Point | End:
    """Parse what a training said."""
    return _LINE.validate_json(text)


def choose_past(journal: Sequence[Point], start: Start) -> list[Point]:
    """Return the points of earlier attempts: the journal's, then those of the resume point."""
    kept = {point.step: point for point in journal if point.step <= start.done}
    last = max(kept, default=0)
    return [
        *(kept[step] for step in sorted(kept)),
        *(point for point in start.past if last < point.step <= start.done),
    ]
