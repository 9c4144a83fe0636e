"""Import this before a fork, so that a judge stage starts in a moment in each child."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module

import tunebench_jobs.judge.stage
from tunebench_jobs.litellm_calls import load_litellm

STAGE = tunebench_jobs.judge.stage.run_judge
# Not a bare import, which would ask the network for prices.
LITELLM = load_litellm()
# What the first call loads. A version of LiteLLM that has no such module loads it later.
for name in (
    "litellm._service_logger",
    "litellm.accounting",
    "litellm.llms.litellm_proxy.chat.transformation",
    "litellm.llms.openai.chat.gpt_audio_transformation",
    "litellm.proxy._types",
    "litellm.proxy.spend_tracking.savings",
):
    with suppress(ModuleNotFoundError):
        import_module(name)
