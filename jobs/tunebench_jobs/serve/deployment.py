"""The Ray Serve deployment: one replica that is web server and engine in one.

A fused replica is fastest: every hop between actors costs more than a token of a small model.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from tunebench_api.contract import Runtime, StageDocument
from tunebench_api.v1alpha1 import Precision
from tunebench_jobs.context import StageContext, timestamp
from tunebench_jobs.errors import JobError
from tunebench_jobs.models import leave_out_nf4
from tunebench_jobs.serve.service import ChatService
from tunebench_jobs.stage import build_failure

# Of keys and values; what is over waits.
_CACHE_BYTES = 2 << 30
_MAX_REQUESTS = 4096
_HEALTH_PERIOD_SECONDS = 2.0
# Reading a long prompt may hold the process for a while.
_HEALTH_TIMEOUT_SECONDS = 120.0
_CONSTRUCTOR_TRIES = 2


class Model(BaseModel):
    """What a replica loads, as resolved paths."""

    model_config = ConfigDict(frozen=True)

    folder: str
    # Adapter folders by model id.
    adapters: dict[str, str]
    # Model ids of the folder's own weights.
    plain: tuple[str, ...]
    batch_size: int
    seed: int
    threads: int
    # Whether the base is in 4 bits, as the adapters were trained beside.
    quantized: bool = False
    # Of the replica; 0: it computes on the CPU.
    gpus: int = 0
    # Canary files by model id, of the variants that have one.
    canaries: dict[str, str] = {}
    # Where the replica tells why it does not serve; absent: nowhere.
    runtime: Runtime | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Return all model ids."""
        return (*self.plain, *self.adapters)


class ChatReplica:
    """The replica: a service, loaded when it starts."""

    def __init__(self, document: str) -> None:
        """Load the model that a `Model` in JSON describes."""
        model = Model.model_validate_json(document)
        if not model.quantized:
            leave_out_nf4()
        self._service = load_or_report(model)

    def __serve_build_asgi_app__(self) -> Any:
        """Build the web application, once Ray Serve has made the replica."""
        from tunebench_jobs.serve.app import build_app  # noqa: PLC0415 - in the replica only

        return build_app(self._service)

    def check_health(self) -> None:
        """Tell Ray Serve to restart the replica when the engine has stopped.

        Raises:
            RuntimeError: It has.
        """
        if not self._service.is_alive():
            msg = "the engine has stopped"
            raise RuntimeError(msg)


class FetchingChatReplica(ChatReplica):
    """A replica that fetches its model from a store in a bucket."""

    def __init__(self, document: str) -> None:
        """Fetch, check and load what a stage document names.

        Raises:
            JobError: A model or checkpoint cannot be served; it has been reported.
        """
        from tunebench_jobs.serve.fetching import fetch_model  # noqa: PLC0415 - in the replica only

        super().__init__(fetch_model(document).model_dump_json())


def build_deployment(model: Model) -> Any:
    """Build the application that Ray Serve runs."""
    return _bind(ChatReplica, model.model_dump_json(), model.gpus)


def build_fetching_deployment(document: StageDocument) -> Any:
    """Build the application whose replica fetches its model."""
    return _bind(
        FetchingChatReplica, document.model_dump_json(by_alias=True), document.runtime.gpus or 0
    )


def _bind(replica: type[ChatReplica], document: str, gpus: int) -> Any:
    from ray import serve  # noqa: PLC0415 - takes a second to import

    deployment = serve.deployment(
        name="chat",
        num_replicas=1,
        max_ongoing_requests=_MAX_REQUESTS,
        health_check_period_s=_HEALTH_PERIOD_SECONDS,
        health_check_timeout_s=_HEALTH_TIMEOUT_SECONDS,
        graceful_shutdown_wait_loop_s=0.1,
        graceful_shutdown_timeout_s=1.0,
        max_constructor_retry_count=_CONSTRUCTOR_TRIES,
        # Ray hides from an actor the GPUs that it has not asked for.
        ray_actor_options={"num_cpus": 1, "num_gpus": gpus},
    )(serve.ingress()(replica))
    return deployment.bind(document)


def load_or_report(model: Model) -> ChatService:
    """Load a model, and tell the planner's side why that is not possible.

    Raises:
        JobError: It has been reported; of Ray Serve, nobody would learn the reason.
    """
    started = timestamp()
    try:
        return load_service(model)
    except JobError as error:
        if model.runtime is not None:
            StageContext(model.runtime).finish(build_failure(error, started=started))
        raise


def load_service(model: Model) -> ChatService:
    """Load a model with its adapters and start the engine.

    Raises:
        InputError: The model or an adapter cannot be loaded or served, or is not what was trained.
    """
    import torch  # noqa: PLC0415 - takes seconds to import

    from tunebench_jobs.chat import find_end_tokens  # noqa: PLC0415 - likewise
    from tunebench_jobs.models import load_model, load_tokenizer  # noqa: PLC0415 - likewise
    from tunebench_jobs.serve.adapters import load_adapters  # noqa: PLC0415 - likewise
    from tunebench_jobs.serve.comparison import (  # noqa: PLC0415 - likewise
        check_served,
        find_watched,
    )
    from tunebench_jobs.serve.decoder import (  # noqa: PLC0415 - likewise
        Decoder,
        count_token_bytes,
        find_context_limit,
    )
    from tunebench_jobs.serve.engine import Engine  # noqa: PLC0415 - likewise
    from tunebench_jobs.serve.linear import replace_linears  # noqa: PLC0415 - likewise

    torch.set_num_threads(model.threads)
    folder = Path(model.folder)
    # GPUs compute in bfloat16, as they trained; on a CPU it is slower than float32.
    device, dtype = ("cuda", torch.bfloat16) if model.gpus else ("cpu", torch.float32)
    loaded = load_model(folder, dtype, nf4_device=device if model.quantized else None).eval()
    if not model.quantized:
        loaded = loaded.to(device)
    limit, token_bytes = find_context_limit(loaded), count_token_bytes(loaded)
    adapted, route = load_adapters(loaded, [Path(path) for path in model.adapters.values()])
    replace_linears(adapted)
    tokenizer = load_tokenizer(folder)
    variants: dict[str, int | None] = dict.fromkeys(model.plain)
    variants.update({name: index for index, name in enumerate(model.adapters)})
    decoder = Decoder(adapted.eval(), route, batch_size=model.batch_size)
    check_served(
        decoder,
        tokenizer,
        find_watched(model.canaries, variants),
        Precision.BFLOAT16 if model.gpus else Precision.FLOAT32,
    )
    engine = Engine(
        decoder,
        # Tokenizers of two threads must not be one: encoding changes settings on the way.
        load_tokenizer(folder),
        end_tokens=find_stop_tokens(find_end_tokens(tokenizer), loaded.generation_config),
        batch_tokens=_CACHE_BYTES // token_bytes,
        threads=model.threads,
    )
    engine.start()
    return ChatService(engine, tokenizer, variants=variants, context_limit=limit, seed=model.seed)


def find_stop_tokens(of_template: tuple[int, ...], generation_config: Any) -> tuple[int, ...]:
    """Return the tokens of the template's end of turn and those that the model's makers name."""
    named = getattr(generation_config, "eos_token_id", None)
    listed = named if isinstance(named, list) else [] if named is None else [named]
    return tuple(dict.fromkeys((*of_template, *listed)))


def count_cpus(limit: int | None) -> int:
    """Return how many CPUs this process may compute on."""
    allowed = len(os.sched_getaffinity(0))
    return min(limit, allowed) if limit else allowed
