"""The parameters that a model is really sent: what was asked for, as LiteLLM passes it on.

Some models take no temperature but their own, and some want their limit under another name.
LiteLLM knows most of them, and is asked beforehand; nothing is left out that no record shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tunebench_jobs.errors import InputError
from tunebench_jobs.litellm_calls import load_litellm
from tunebench_jobs.llm import Endpoint

Sent = Mapping[str, int | float | str]


def adapt_parameters(endpoint: Endpoint, field: str, *, lenient: bool = False) -> Endpoint:
    """Return the endpoint with parameters that its model takes; `field` is its place in the run.

    With `lenient`, a temperature of 0 is left out where the model does not take it: the model's
    own is as near as it comes.

    Raises:
        InputError: LiteLLM does not know the provider, or the model does not take a parameter.
    """
    if _map_parameters(endpoint) is not None:
        return endpoint
    without = replace(endpoint, temperature=None)
    if _map_parameters(without) is None:
        msg = (
            f"`{field}.maxTokens` cannot be sent to `{endpoint.model}`, which takes no limit of "
            "its replies; use another model"
        )
        raise InputError(msg, reason="UnsupportedParameter")
    if lenient and endpoint.temperature == 0:
        return without
    msg = (
        f"`{field}.temperature` must be one that `{endpoint.model}` takes, got "
        f"{endpoint.temperature:g}; LiteLLM knows of no other than its own: write "
        f'"1"{", or leave it out" if lenient else ""}'
    )
    raise InputError(msg, reason="UnsupportedParameter")


def find_sent(endpoint: Endpoint) -> Sent:
    """Return what a model is sent besides the messages, by the names that its vendor uses.

    Raises:
        InputError: LiteLLM does not know the provider, or the model does not take a parameter.
    """
    sent = _map_parameters(endpoint)
    if sent is None:
        msg = f"model `{endpoint.model}` does not take its temperature or its limit of tokens"
        raise InputError(msg, reason="UnsupportedParameter")
    return sent


def find_provider(endpoint: Endpoint) -> tuple[str, str]:
    """Return a model's name at its provider, and the provider.

    Raises:
        InputError: LiteLLM does not know it.
    """
    litellm = load_litellm()
    try:
        name, provider, _, _ = litellm.get_llm_provider(endpoint.model, api_base=endpoint.api_base)
    except litellm.exceptions.BadRequestError as error:
        msg = f"`{endpoint.model}` must be a LiteLLM model id, whose provider LiteLLM knows"
        raise InputError(msg, reason="UnknownModel") from error
    return str(name), str(provider)


def _map_parameters(endpoint: Endpoint) -> Sent | None:
    """Return what LiteLLM would send; nothing where it refuses to."""
    litellm = load_litellm()
    name, provider = find_provider(endpoint)
    wanted = {"temperature": endpoint.temperature, "max_tokens": endpoint.max_tokens}
    try:
        mapped: Mapping[str, Any] = litellm.utils.get_optional_params(
            model=name,
            custom_llm_provider=provider,
            # Not the library's default, which a user's environment may change.
            drop_params=False,
            **{each: value for each, value in wanted.items() if value is not None},
        )
    except litellm.exceptions.UnsupportedParamsError:
        return None
    # The others are empty places for what was not asked for, such as `extra_body`.
    return {
        each: value
        for each, value in sorted(mapped.items())
        if isinstance(value, int | float | str) and not isinstance(value, bool)
    }
