"""When memory runs out: half the micro-batch once, then an error with advice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunebench_api.contract import OUT_OF_MEMORY, Base, Runtime, TrainConfig
from tunebench_api.sizing.settled import Sizing
from tunebench_api.v1alpha1 import DeepSpeed, TuningSpec
from tunebench_jobs.context import StageContext
from tunebench_jobs.errors import InputError, RetryableError, is_out_of_memory
from tunebench_jobs.train.layout import WORK_FOLDER
from tunebench_jobs.train.room import (
    SIZING_FILE,
    build_memory_error,
    describe_shrunk,
    find_sizing,
    fit_in_memory,
)

ALLOCATOR = (
    "[enforce fail at alloc_cpu.cpp:132] err == 0. DefaultCPUAllocator: can't allocate memory: you "
    "tried to allocate 8589934592 bytes. Error code 12 (Cannot allocate memory)"
)


def make_config(**tuning: object) -> TrainConfig:
    """Return a training with micro-batches of four."""
    spec = TuningSpec.from_wire({"microBatchSize": 4, "batchSize": 8, **tuning})
    return TrainConfig(data="data/x", base=Base(base="acme/one"), tuning=spec, seed=0)


def make_context(folder: Path, sizing: Sizing | None = None) -> StageContext:
    """Return a context with an output folder."""
    (folder / "out" / WORK_FOLDER).mkdir(parents=True, exist_ok=True)
    report = str(folder / "report.json")
    return StageContext(Runtime(store=str(folder), output="out", report=report, sizing=sizing))


class Fit:
    """A training that runs out of memory above a micro-batch."""

    def __init__(self, fits: int, error: type[InputError | RetryableError] = InputError) -> None:
        """Remember what fits."""
        self.fits = fits
        self.error = error
        self.seen: list[tuple[int, int, int | None]] = []

    def __call__(self, config: TrainConfig, sizing: Sizing) -> None:
        """Note what was tried, and fail above what fits."""
        tuning = config.tuning
        self.seen.append((tuning.micro_batch_size, tuning.batch_size, sizing.shrunk_from))
        if tuning.micro_batch_size > self.fits:
            raise self.error("no room", reason=OUT_OF_MEMORY)


@pytest.mark.parametrize("error", [InputError, RetryableError])
def test_half_the_micro_batch_is_tried_once(
    tmp_path: Path, error: type[InputError | RetryableError]
) -> None:
    """The batch of a step stays the same."""
    fit = Fit(2, error)
    fit_in_memory(make_config(), make_context(tmp_path), fit)

    assert fit.seen == [(4, 8, None), (2, 8, 4)]


def test_the_second_time_is_an_error(tmp_path: Path) -> None:
    """Nothing is halved for ever, and nothing else is tried again."""
    fit = Fit(1)
    with pytest.raises(InputError) as caught:
        fit_in_memory(make_config(), make_context(tmp_path), fit)
    later = Fit(1)
    with pytest.raises(InputError):
        fit_in_memory(make_config(), make_context(tmp_path), later)

    assert caught.value.reason == OUT_OF_MEMORY
    assert fit.seen == [(4, 8, None), (2, 8, 4)]
    # An attempt after this one begins with what was learnt.
    assert later.seen == [(2, 8, 4)]


def test_one_row_cannot_be_halved(tmp_path: Path) -> None:
    """Then the first error is the last."""
    fit = Fit(0)
    with pytest.raises(InputError):
        fit_in_memory(make_config(microBatchSize=1), make_context(tmp_path), fit)

    assert fit.seen == [(1, 8, None)]


def test_other_errors_change_nothing(tmp_path: Path) -> None:
    """A loss that explodes is no reason for smaller micro-batches."""
    tried = []

    def fail(config: TrainConfig, _: Sizing) -> None:
        tried.append(config.tuning.micro_batch_size)
        raise InputError("wild", reason="LossExploded")

    with pytest.raises(InputError, match="wild"):
        fit_in_memory(make_config(), make_context(tmp_path), fail)

    assert tried == [4]
    assert not (tmp_path / "out" / WORK_FOLDER / SIZING_FILE).exists()


def test_the_planner_decides_what_settings_leave_open(tmp_path: Path) -> None:
    """Its word holds, and what an earlier attempt found too large holds as well."""
    planned = Sizing(workers=4, deepspeed=DeepSpeed.ZERO3, micro_batch_size=8, why="because")
    config = make_config(deepspeed="Auto")
    context = make_context(tmp_path, planned)

    assert find_sizing(config, context) == planned
    (tmp_path / "out" / WORK_FOLDER / SIZING_FILE).write_text(
        planned.model_copy(update={"micro_batch_size": 2, "shrunk_from": 4}).model_dump_json()
    )
    assert find_sizing(config, context).micro_batch_size == 2
    (tmp_path / "out" / WORK_FOLDER / SIZING_FILE).write_text("{broken")
    assert find_sizing(config, context) == planned


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(RuntimeError(ALLOCATOR), True, id="CPU"),
        pytest.param(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), True, id="GPU"),
        pytest.param(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"), True, id="cuBLAS"),
        pytest.param(MemoryError(), True, id="Python"),
        pytest.param(RuntimeError("shapes do not match"), False, id="other"),
        pytest.param(ValueError("out of memory"), False, id="text of another error"),
    ],
)
def test_what_counts_as_memory_that_ran_out(error: Exception, *, expected: bool) -> None:
    """Allocators of CPUs and GPUs say it differently."""
    assert is_out_of_memory(error) is expected


def test_the_advice_says_what_was_tried() -> None:
    """It names the fields to change, and what the allocator wanted."""
    sizing = Sizing(workers=1, deepspeed=DeepSpeed.NONE, micro_batch_size=2, shrunk_from=4)
    error = build_memory_error(RuntimeError(ALLOCATOR), sizing, "CPUs")

    assert error.reason == OUT_OF_MEMORY
    assert "micro-batch halved from 4 to 2" in str(error)
    assert "8589934592 bytes" in str(error)
    assert "lower `microBatchSize` (now 2) or `maxLength`" in str(error)
    assert not describe_shrunk(sizing.model_copy(update={"shrunk_from": None}))
