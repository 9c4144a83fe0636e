"""The serve stage: a server for one base model with its adapters, until it is told to stop."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import httpx

from tunebench_api.contract import Progress, Quantization, Report, ServeConfig, StageResult
from tunebench_api.v1alpha1 import TuningMethod
from tunebench_jobs.canaries import CANARY_FILE
from tunebench_jobs.checkpoints import load_manifest
from tunebench_jobs.context import Outcome, StageContext
from tunebench_jobs.errors import InputError, RetryableError
from tunebench_jobs.local_ray import local_ray
from tunebench_jobs.models import build_base_digest, resolve_base
from tunebench_jobs.serve.deployment import Model, build_deployment, count_cpus
from tunebench_jobs.train.layout import CHECKPOINT_FOLDER

logger = logging.getLogger(__name__)

_HOST = "127.0.0.1"
_APPLICATION = "tunebench"
_REPORT_SECONDS = 5.0
_PROBE_SECONDS = 60.0
# A replica that died loads its model again within this, or never.
_RECOVERY_SECONDS = 300.0


def run_serve(config: ServeConfig, context: StageContext) -> Outcome:
    """Serve until SIGTERM, which ends the process; nothing is left to return.

    Raises:
        InputError: A model or checkpoint cannot be served.
        RetryableError: The server did not start, or died and did not come back.
    """
    context.report(Progress(message="checking checkpoints"))
    model = build_model(config, context)
    context.report(Progress(message="loading the model"))
    with local_ray(context, cpus=model.threads), _exit_on_sigterm(), _reserved_port() as port:
        _start(model, port, Path(context.runtime.report))
        try:
            _watch(f"http://{_HOST}:{port}/v1", context, model)
        finally:
            _stop()
    return Outcome(message="stopped")


def build_model(config: ServeConfig, context: StageContext) -> Model:
    """Find and check what a replica is to load.

    Raises:
        InputError: A checkpoint is broken, or cannot be served beside the others.
    """
    plain: list[str] = []
    adapters: dict[str, str] = {}
    digests: dict[str, str] = {}
    full: dict[str, Path] = {}
    canaries: dict[str, str] = {}
    for variant in config.variants:
        if variant.checkpoint is None:
            plain.append(variant.name)
            continue
        folder = context.path(f"{variant.checkpoint}/{CHECKPOINT_FOLDER}")
        facts = load_manifest(folder).facts
        _check_precision(variant.name, facts.method, config)
        path = context.path(f"{variant.checkpoint}/{CANARY_FILE}")
        canaries[variant.name] = str(path.resolve())
        if facts.method is TuningMethod.FULL:
            full[variant.name] = folder
        else:
            adapters[variant.name] = str(folder.resolve())
            digests[variant.name] = facts.base_digest
    if full and len(config.variants) > 1:
        msg = (
            f"`variants` must hold a fully tuned checkpoint alone, got {len(config.variants)} "
            f"variants with `{next(iter(full))}`"
        )
        raise InputError(msg, reason="VariantsNotServable")
    folder = next(iter(full.values()), None) or resolve_base(config.base, context.store)
    for name, digest in digests.items():
        if digest != build_base_digest(folder, context.store):
            msg = f"`{name}` was trained from other weights than `{config.base.base}`; train again"
            raise InputError(msg, reason="BaseModelChanged")
    return Model(
        folder=str(folder.resolve()),
        adapters=adapters,
        quantized=config.base.quantization is not None,
        plain=(*plain, *full),
        batch_size=config.batch_size,
        seed=config.seed,
        threads=count_cpus(context.runtime.cpus),
        gpus=context.runtime.gpus or 0,
        canaries=canaries,
        runtime=context.runtime,
    )


def _check_precision(name: str, method: TuningMethod, config: ServeConfig) -> None:
    """Check that an adapter is served beside weights of the format that it was trained beside.

    Raises:
        InputError: It is not, and would answer otherwise than it was trained to.
    """
    wanted = Quantization.NF4 if method is TuningMethod.QLORA else None
    if config.base.quantization is not wanted:
        served = config.base.quantization or "full precision"
        msg = (
            f"`{name}` was trained with {method} and must be served beside a base in "
            f"{wanted or 'full precision'}, got {served}"
        )
        raise InputError(msg, reason="VariantsNotServable")


@contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    """Take SIGTERM from Ray, whose handler aborts a process that takes over 3 s to leave."""

    def leave(number: int, _frame: FrameType | None) -> None:
        # Leaving must not be interrupted by an impatient second one.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _reserved_port() -> Iterator[int]:
    """Hold a port that the system chose, so that nobody else gets it.

    Ray Serve's proxy may listen on it nevertheless, because both sockets share the port.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind((_HOST, 0))
        yield holder.getsockname()[1]


def _start(model: Model, port: int, report: Path) -> None:
    """Start Ray Serve and wait until the replica has loaded its model.

    Raises:
        InputError: The cluster serves something else, or the replica refuses the model.
        RetryableError: It did not start.
    """
    import ray  # noqa: PLC0415 - takes a second to import
    from ray import serve  # noqa: PLC0415 - likewise

    with contextlib.suppress(ValueError):
        ray.get_actor("SERVE_CONTROLLER_ACTOR", namespace="serve")
        msg = "Ray at `RAY_ADDRESS` must not run Ray Serve yet; stop that, or unset RAY_ADDRESS"
        raise InputError(msg, reason="ServeAlreadyRuns")
    serve.start(proxy_location="HeadOnly", http_options={"host": _HOST, "port": port})
    try:
        serve.run(build_deployment(model), name=_APPLICATION, route_prefix="/")
    except RuntimeError as error:
        if refusal := _find_refusal(report):
            raise InputError(refusal.message, reason=refusal.reason) from error
        status = serve.status().applications.get(_APPLICATION)
        detail = _describe(status) or str(error)
        msg = f"the server did not start: {detail}"
        raise RetryableError(msg, reason="ServeNotStarted") from error


def _find_refusal(report: Path) -> StageResult | None:
    """Return what the replica says of its model, where the model is why it did not start."""
    if not report.is_file():
        return None
    result = Report.model_validate_json(report.read_bytes()).result
    return result if result is not None and not result.retryable else None


def _watch(endpoint: str, context: StageContext, model: Model) -> None:
    """Say that the server is there for as long as it answers.

    Raises:
        RetryableError: It does not answer any more.
    """
    answered = time.monotonic()
    with httpx.Client(timeout=_PROBE_SECONDS, trust_env=False) as client:
        while True:
            names = _ask_names(client, endpoint)
            if names == set(model.names):
                answered = time.monotonic()
                context.report(Progress(message="ready", endpoint=endpoint))
            elif time.monotonic() - answered > _RECOVERY_SECONDS:
                msg = f"the server at {endpoint} died and did not come back in time"
                raise RetryableError(msg, reason="ServeDied")
            else:
                # Without an endpoint, nobody is sent here meanwhile.
                context.report(Progress(message="waiting for the replica"))
            time.sleep(_REPORT_SECONDS)


def _ask_names(client: httpx.Client, endpoint: str) -> set[str]:
    """Return the models that the endpoint has; none where it does not answer."""
    try:
        answer = client.get(f"{endpoint}/models")
        answer.raise_for_status()
    except httpx.HTTPError as error:
        logger.warning("the server does not answer: %s", error)
        return set()
    return {model["id"] for model in answer.json()["data"]}


def _stop() -> None:
    """Stop Ray Serve where Ray goes on; with a cluster of our own, all goes at once."""
    from ray import serve  # noqa: PLC0415 - takes a second to import

    if "RAY_ADDRESS" in os.environ:
        serve.shutdown()


def _describe(status: object) -> str:
    """Return what Ray Serve says about the replica's failure."""
    deployments = getattr(status, "deployments", {}).values()
    return " ".join(each.message for each in deployments if each.message)[-2000:]
