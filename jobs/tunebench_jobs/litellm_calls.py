"""LiteLLM, loaded so that it is quiet, and called without the layer that it puts around calls."""

from __future__ import annotations

import gc
import inspect
import logging
import os
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

logger = logging.getLogger(__name__)


@cache
def load_litellm() -> Any:
    """Import LiteLLM, which takes seconds, so that it neither phones home nor prints hints."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    # Requests to OpenAI and what is like it go LiteLLM's own way, not through OpenAI's client:
    # a fifth less CPU time (docs/performance.md).
    os.environ.setdefault("EXPERIMENTAL_OPENAI_BASE_LLM_HTTP_HANDLER", "True")
    import litellm  # noqa: PLC0415 - 5 s, and the environment must be set before

    # They log a line for each request, with its URL, which holds the key for some vendors.
    for name in ("LiteLLM", "httpx"):
        logging.getLogger(name).setLevel(logging.WARNING)
    litellm.suppress_debug_info = True
    litellm.telemetry = False
    # It brings some 400,000 objects, none of which is garbage: looked through again and
    # again, they would cost a quarter of the CPU time of a call.
    gc.collect()
    gc.freeze()
    return litellm


async def call_model(
    model: str,
    messages: Sequence[dict[str, str]],
    timeout_seconds: float,
    settings: Mapping[str, Any],
) -> Any:
    """Send one request, once, and return LiteLLM's reply object.

    LiteLLM's public function is two functions: the inner one translates, sends and names what went
    wrong; the layer around it logs, caches, prices and retries, for what nobody here looks at, at
    half of the CPU time of a call (docs/performance.md). So the inner one is called.

    Raises:
        openai.OpenAIError: All that LiteLLM raises derives from it.
    """
    complete, build_log = _find_call()
    return await complete(
        model=model,
        messages=messages,
        timeout=timeout_seconds,
        # Retries are counted by who calls, once.
        num_retries=0,
        max_retries=0,
        litellm_logging_obj=build_log(
            model=model,
            messages=messages,
            stream=False,
            call_type="acompletion",
            start_time=datetime.now(),  # noqa: DTZ005 - LiteLLM takes others of its own kind from it
            litellm_call_id=str(uuid.uuid4()),
            function_id="",
        ),
        **settings,
    )


def price_reply(raw: Any, model: str) -> float | None:
    """Return the US dollars that a reply object cost; nothing where LiteLLM knows no price."""
    if not _has_price(model):
        return None
    try:
        return float(load_litellm().completion_cost(raw, model=model, call_type="acompletion"))
    except Exception as error:  # noqa: BLE001 - it raises what it likes, and the reply is paid for
        logger.warning("no price of a reply of `%s`: %s", model, error)
        return None


def find_model_facts(litellm: Any, model: str) -> dict[str, Any]:
    """Return what LiteLLM knows of a model: prices and limits; nothing of a model it does not."""
    try:
        return dict(litellm.get_model_info(model))
    except litellm.exceptions.ModelNotMappedError:
        return {}


@cache
def _find_call() -> tuple[Any, Any]:
    litellm = load_litellm()
    from litellm.litellm_core_utils.litellm_logging import Logging  # noqa: PLC0415 - loaded by then

    return inspect.unwrap(litellm.acompletion), Logging


@cache
def _has_price(model: str) -> bool:
    known = find_model_facts(load_litellm(), model)
    return bool(known.get("input_cost_per_token") or known.get("output_cost_per_token"))
