"""What can be known of the judges before any work: parameters, context, cost, and their word."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tunebench_api.contract import PreflightConfig
from tunebench_api.v1alpha1 import REFERENCE_JUDGE, Batch, JudgeSpec, JudgingSpec, Probe
from tunebench_jobs.context import StageContext
from tunebench_jobs.errors import InputError, JobError
from tunebench_jobs.judge.batch_api import PROVIDERS
from tunebench_jobs.judge.outlook import (
    Outlook,
    QuestionBounds,
    build_bounds,
    build_outlook,
    check_budget,
    check_context,
    describe_total,
)
from tunebench_jobs.judge.probe import Probed, probe_judges
from tunebench_jobs.llm import Endpoint, build_endpoint
from tunebench_jobs.parameters import adapt_parameters, find_provider, find_sent
from tunebench_jobs.preflight import place_of
from tunebench_jobs.prompt_source import load_configured_prompts


@dataclass(frozen=True)
class Survey:
    """What is known of the judges, and all that speaks against them."""

    outlooks: tuple[Outlook, ...]
    failures: tuple[JobError, ...]

    def describe(self, judging: JudgingSpec) -> list[str]:
        """Say what all judges cost, and a line for each."""
        if not self.outlooks:
            return []
        lines = [outlook.describe() for outlook in self.outlooks]
        return [describe_total(self.outlooks, judging), *lines]


def survey_judges(config: PreflightConfig, context: StageContext) -> Survey:
    """Look at every judge that is asked through LiteLLM; nothing is sent."""
    bounds = _find_bounds(config, context)
    outlooks: list[Outlook] = []
    failures: list[JobError] = []
    for field, spec in list_llm_judges(config):
        try:
            check_batch(spec, field)
            endpoint = adapt_parameters(_build_keyless(spec), field, lenient=True)
            if bounds is None:
                continue
            outlook = build_outlook(spec, bounds, find_sent(endpoint))
            outlooks.append(outlook)
            check_context(outlook, spec, field)
        except InputError as failure:
            # The check of providers says that, too.
            failures += [] if failure.reason == "UnknownModel" else [failure]
    try:
        check_budget(outlooks, config.judging)
    except InputError as failure:
        failures.append(failure)
    return Survey(tuple(outlooks), tuple(failures))


def check_batch(spec: JudgeSpec, field: str) -> None:
    """Check that a judge which is to be asked in batches can be.

    Raises:
        InputError: LiteLLM makes no batches at its provider, or it does not know that.
    """
    if spec.batch is Batch.DISABLED:
        return
    _, provider = find_provider(_build_keyless(spec))
    if provider not in PROVIDERS:
        msg = (
            f"`{field}.batch` must be Disabled for `{spec.model}`: batches are made at "
            f"{', '.join(sorted(PROVIDERS))}, and LiteLLM makes none that can be read back at "
            f"{provider}; remove it"
        )
        raise InputError(msg, reason="NotSupported")


def ask_judges(config: PreflightConfig, environment: Mapping[str, str]) -> Mapping[str, JobError]:
    """Ask every judge for one word, unless the run does not want it; return who gave none."""
    if config.judging.probe is Probe.DISABLED:
        return {}
    probed = [
        Probed(
            field,
            spec.name,
            adapt_parameters(build_endpoint(spec, field, environment), field, lenient=True),
        )
        for field, spec in list_llm_judges(config)
    ]
    return asyncio.run(probe_judges(probed)) if probed else {}


def list_llm_judges(config: PreflightConfig) -> Iterator[tuple[str, JudgeSpec]]:
    """Yield the judges that are asked through LiteLLM, each with its place in the run."""
    for judge in config.judges:
        if judge.model != REFERENCE_JUDGE:
            yield place_of(judge), judge


def _build_keyless(spec: JudgeSpec) -> Endpoint:
    """Return how a judge is reached, for questions that LiteLLM answers itself."""
    temperature = float(spec.temperature)
    return Endpoint(spec.model, spec.api_base, temperature=temperature, max_tokens=spec.max_tokens)


def _find_bounds(config: PreflightConfig, context: StageContext) -> QuestionBounds | None:
    """Return how long questions may be; nothing where the prompts are broken, as another says."""
    if config.scale is None:
        return None
    try:
        prompts = load_configured_prompts(config.prompts, context.prompts_dir).prompt_set
        return build_bounds(config.scale, prompts)
    except InputError:
        return None
