"""The preflight stage: find in seconds what would otherwise fail after hours."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from tunebench_api.contract import PreflightConfig, Progress
from tunebench_api.v1alpha1 import REFERENCE_JUDGE, TEMPLATE_BASELINE, BaselineSpec, JudgeSpec
from tunebench_jobs.context import Outcome, StageContext
from tunebench_jobs.errors import InputError
from tunebench_jobs.llm import build_endpoint, load_litellm
from tunebench_jobs.prompt_source import find_prompts, parse_variables


def run_preflight(config: PreflightConfig, context: StageContext) -> Outcome:
    """Check prompts, credentials and base models, the cheapest first.

    Raises:
        InputError: Names the field that must change, and how.
        RetryableError: A model hub does not answer.
    """
    context.report(Progress(message="checking the prompt set"))
    check_prompts(config, context)
    context.report(Progress(message="checking judges and baseline"))
    asked = check_credentials(config, os.environ)
    context.report(Progress(message="checking base models"))
    _check_bases(config)
    return Outcome(
        message=f"{len(config.bases)} base models, {len(config.judges)} judges",
        summary={
            "bases": [base.base for base in config.bases],
            "judges": [judge.name for judge in config.judges],
            "asked_models": asked,
        },
    )


def check_prompts(config: PreflightConfig, context: StageContext) -> None:
    """Render the prompt set for all tools of the run, and for LLM judges.

    Raises:
        InputError: It does not load or render, or lacks a tool.
    """
    # Jinja is imported only here, so that a missing key is found even faster.
    from tunebench_jobs.prompts import check_prompt_set  # noqa: PLC0415

    folder = find_prompts(config.prompts, context.prompts_dir)
    report = check_prompt_set(folder, parse_variables(config.prompts.variables))
    missing = [str(tool) for tool in config.tools if tool not in report.tools]
    if missing:
        msg = (
            f"prompt set `{report.name}` must have the tools that `spec.tools` names, got none "
            f"for {', '.join(missing)}; add their tables, or remove the tools"
        )
        raise InputError(msg, reason="InvalidPromptSet")
    if report.evaluate is None:
        msg = (
            f"prompt set `{report.name}` must have `[pr_evaluate_prompt]` for the judges, got "
            "none; add the file that holds it"
        )
        raise InputError(msg, reason="InvalidPromptSet")


def check_credentials(config: PreflightConfig, environment: Mapping[str, str]) -> list[str]:
    """Check that every model behind LiteLLM can be reached as far as its key goes.

    Returns:
        The models that will be asked.

    Raises:
        InputError: A key is missing, or LiteLLM does not know the provider.
    """
    asked: list[tuple[str, JudgeSpec | BaselineSpec]] = [
        (f"spec.judges[{judge.name}]", judge)
        for judge in config.judges
        if judge.model != REFERENCE_JUDGE
    ]
    if config.baseline.model not in {None, TEMPLATE_BASELINE}:
        asked.append(("spec.baseline", config.baseline))
    for field, spec in asked:
        build_endpoint(spec, field, environment)
    if asked:
        # Imported only now, because that takes seconds.
        litellm = load_litellm()
        for field, spec in asked:
            _check_provider(litellm, field, spec)
    return [spec.model or "" for _, spec in asked]


def _check_provider(litellm: Any, field: str, spec: JudgeSpec | BaselineSpec) -> None:
    """Check that LiteLLM knows the provider, and finds its key where the run names none."""
    try:
        litellm.get_llm_provider(spec.model, api_base=spec.api_base)
    except litellm.exceptions.BadRequestError as error:
        msg = (
            f"`{field}.model` must be a LiteLLM model id such as openai/gpt-4o-2024-08-06, got "
            f"`{spec.model}`, whose provider LiteLLM does not know; for a server of your own "
            "write openai/NAME and set `apiBase`"
        )
        raise InputError(msg, reason="UnknownModel") from error
    if spec.secret_ref is not None or spec.api_base is not None:
        return
    missing = litellm.validate_environment(spec.model).get("missing_keys") or []
    if missing:
        msg = (
            f"`{field}.secretRef` must name an API key, or {', '.join(missing)} must be set in "
            f"the environment for `{spec.model}`; set it and start again"
        )
        raise InputError(msg, reason="MissingCredential")


def _check_bases(config: PreflightConfig) -> None:
    # Imported only now, because what reads models is slow to import.
    from tunebench_jobs.models import check_base  # noqa: PLC0415

    for base in config.bases:
        check_base(base)
