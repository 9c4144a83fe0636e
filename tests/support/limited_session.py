"""A training whose worker may have only so much memory more: `limited_session.py FILE`.

The file is JSON with a stage document and the `bytes` that a worker may have beyond what it has
when its steps begin. Each time that the stage lets a worker train, it is a process of its own, as
with Ray; what becomes of the stage is printed as one line of JSON.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from tunebench_api.contract import TrainConfig, parse_stage_document
from tunebench_api.sizing.settled import Sizing
from tunebench_jobs.context import StageContext
from tunebench_jobs.errors import InputError
from tunebench_jobs.train.room import fit_in_memory, memory_errors

_KIB = 1024


def main() -> None:
    """Be the stage, or with `--worker` one of its workers."""
    if sys.argv[1] == "--worker":
        run_worker(json.loads(sys.argv[2]))
        return
    orders = json.loads(Path(sys.argv[1]).read_bytes())
    document = parse_stage_document(json.dumps(orders["document"]))
    assert isinstance(document.config, TrainConfig)
    context = StageContext(document.runtime)
    context.output.mkdir(parents=True, exist_ok=True)
    tried: list[int] = []

    def fit(config: TrainConfig, sizing: Sizing) -> None:
        tried.append(config.tuning.micro_batch_size)
        runtime = document.runtime.model_copy(update={"sizing": sizing})
        worker = {"config": config.to_wire(), "runtime": runtime.to_wire()}
        done = subprocess.run(
            [sys.executable, __file__, "--worker", json.dumps({**worker, **orders})],
            stdout=subprocess.PIPE,
            check=False,
        )
        said = json.loads(done.stdout.splitlines()[-1]) if done.stdout else None
        if said is None:
            sys.exit(f"a worker ended with code {done.returncode}")
        if said["reason"]:
            raise InputError(said["message"], reason=said["reason"])

    failure: dict[str, Any] = {}
    try:
        fit_in_memory(document.config, context, fit)
    except InputError as error:
        failure = {"reason": error.reason, "message": str(error)}
    sys.stdout.write(f"{json.dumps({'tried': tried, **failure})}\n")


def run_worker(orders: dict[str, Any]) -> None:
    """Train as Ray's worker does, with so much memory more."""
    import torch  # noqa: PLC0415 - the stage needs none of these

    from tunebench_jobs.train.loop import Hooks  # noqa: PLC0415 - likewise
    from tunebench_jobs.train.place import Place  # noqa: PLC0415 - likewise
    from tunebench_jobs.train.session import run_session  # noqa: PLC0415 - likewise

    torch.set_num_threads(1)
    document = parse_stage_document(
        json.dumps({"config": orders["config"], "runtime": orders["runtime"]})
    )
    assert isinstance(document.config, TrainConfig)
    assert document.runtime.sizing is not None

    def limit(_: Any) -> None:
        most = _load_data_bytes() + orders["bytes"]
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))

    answer = {"reason": "", "message": ""}
    try:
        with memory_errors(document.runtime.sizing, "CPUs"):
            run_session(
                document.config,
                StageContext(document.runtime),
                Place(0, 1, torch.device("cpu")),
                Hooks(on_step=lambda *_: None, on_resume_point=lambda *_: None, on_ready=limit),
            )
    except InputError as error:
        answer = {"reason": error.reason, "message": str(error)}
    sys.stdout.write(f"{json.dumps(answer)}\n")


def _load_data_bytes() -> int:
    """Return what counts against the limit by now."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (each for each in lines if each.startswith("VmData:"))
    return int(line.split()[1]) * _KIB


if __name__ == "__main__":
    main()
