"""The preflight stage: find in seconds what would otherwise fail after hours."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx

from tunebench_api.advice import is_pinned
from tunebench_api.contract import PreflightConfig, Progress
from tunebench_api.errors import parse_problem
from tunebench_api.sizing.shape import SHAPES_KEY
from tunebench_api.v1alpha1 import (
    REFERENCE_JUDGE,
    TEMPLATE_BASELINE,
    BaselineSpec,
    JudgeSpec,
    LlmSpec,
    OnUnavailable,
)
from tunebench_jobs.context import Outcome, StageContext
from tunebench_jobs.errors import InputError, JobError, RetryableError
from tunebench_jobs.litellm_calls import find_model_facts, load_litellm
from tunebench_jobs.llm import Endpoint, build_endpoint, find_secret
from tunebench_jobs.parameters import adapt_parameters
from tunebench_jobs.prices import find_prices
from tunebench_jobs.prompt_source import find_prompts, parse_variables
from tunebench_jobs.storage.check import check_bucket

if TYPE_CHECKING:
    from tunebench_jobs.judge.preflight import Survey

_SERVER_TIMEOUT = httpx.Timeout(10.0, connect=5.0)
# What a gateway says when nothing answers behind it.
_NOTHING_BEHIND = frozenset({502, 503, 504})


class Asked(NamedTuple):
    """A model behind LiteLLM, and its place in the run."""

    field: str
    spec: JudgeSpec | BaselineSpec | LlmSpec


def run_preflight(config: PreflightConfig, context: StageContext) -> Outcome:
    """Check the store, prompts, credentials, servers and base models, the cheapest first.

    Raises:
        InputError: Names every field that must change, and how.
        RetryableError: A server or the model hub does not answer.
    """
    # Judges that are away and may be.
    absent: dict[str, JobError] = {}
    steps: tuple[tuple[str, Callable[[], object]], ...] = (
        ("checking the store", partial(check_store, context)),
        ("checking the prompt set", partial(check_prompts, config, context)),
        ("checking keys", partial(check_keys, config, os.environ)),
        ("checking providers", partial(check_providers, config)),
        ("checking parameters", partial(check_parameters, config)),
        ("checking prices", partial(check_prices, config)),
        ("checking servers", lambda: absent.update(check_servers(config))),
        ("asking GitHub", partial(check_sources, config, os.environ)),
        ("checking base models", partial(check_bases, config)),
    )
    failures: list[JobError] = []
    for message, check in steps:
        context.report(Progress(message=message))
        failures += _catch(check)
    survey = survey_judges(config, context)
    raise_together([*failures, *(survey.failures if survey else ())])
    context.report(Progress(message="reading the sizes of base models"))
    shapes = read_base_shapes(config)
    # Last, because it costs a little: nothing else stands in the way.
    context.report(Progress(message="asking each judge for a word"))
    absent |= ask_judges(leave_out(config, absent), os.environ) if survey else {}
    bases = [each.base for each in config.bases]
    loose = [base.base for base in bases if not is_pinned(base.base, base.revision)]
    facts = [f"{len(config.bases)} base models, {len(config.judges)} judges"]
    facts += [f"no commit pins {', '.join(loose)}"] if loose else []
    facts += [describe_absence(failure) for failure in absent.values()]
    facts += survey.describe(config.judging) if survey else []
    return Outcome(
        message="; ".join(facts),
        summary={
            "outlook": [outlook.to_summary() for outlook in survey.outlooks] if survey else [],
            "bases": [base.base for base in bases],
            SHAPES_KEY: shapes,
            "unpinned": loose,
            "judges": [judge.name for judge in config.judges],
            "absent_judges": [each.name for each in config.judges if place_of(each) in absent],
            "asked_models": [spec.model for _, spec in list_asked(config)],
        },
    )


def raise_together(failures: Sequence[JobError]) -> None:
    """Raise all failures as one; what the user must do goes before what time may heal.

    Raises:
        JobError: There is one at least.
    """
    if not failures:
        return
    found = {failure.reason for failure in failures}
    reason = found.pop() if len(found) == 1 else "SeveralProblems"
    lasting = any(isinstance(failure, InputError) for failure in failures)
    kind = InputError if lasting else RetryableError
    # One line for each, or for each that is joined already.
    raise kind("\n".join(str(failure).strip() for failure in failures), reason=reason)


def excuse_absent(config: PreflightConfig, failures: Mapping[str, JobError]) -> dict[str, JobError]:
    """Return which judges are away and may be, as long as one is left; `failures` are by place.

    Raises:
        JobError: There are other failures.
    """
    judges = {place_of(judge) for judge in config.judges}
    away = {
        place: failure
        for place, failure in failures.items()
        if place in judges and isinstance(failure, RetryableError)
    }
    may_be = config.judging.on_unavailable is OnUnavailable.SKIP and len(away) < len(judges)
    excused: dict[str, JobError] = {**away} if may_be else {}
    raise_together([failure for place, failure in failures.items() if place not in excused])
    return excused


def leave_out(config: PreflightConfig, absent: Container[str]) -> PreflightConfig:
    """Return the config without the judges of these places."""
    present = tuple(judge for judge in config.judges if place_of(judge) not in absent)
    return config.model_copy(update={"judges": present})


def describe_absence(failure: JobError) -> str:
    """Say that a judge is away, and what follows."""
    return (
        f"warning: {failure} (a judge that stays away is left out, as "
        "`spec.judging.onUnavailable` says)"
    )


def list_asked(config: PreflightConfig) -> list[Asked]:
    """Return the models that will be asked through LiteLLM."""
    asked = [
        Asked(place_of(judge), judge) for judge in config.judges if judge.model != REFERENCE_JUDGE
    ]
    if config.baseline.model not in {None, TEMPLATE_BASELINE}:
        asked.append(Asked("spec.baseline", config.baseline))
    return [*asked, *(Asked(maker.field, maker.llm) for maker in config.makers)]


def check_store(context: StageContext) -> None:
    """Check that a store in a bucket can be written and read.

    Raises:
        JobError: It cannot.
    """
    if context.mirror is not None:
        check_bucket(context.mirror.bucket)


def check_prompts(config: PreflightConfig, context: StageContext) -> None:
    """Render the prompt set for all tools of the run, and for LLM judges.

    Raises:
        InputError: It does not load or render, or lacks a tool.
    """
    # Jinja is imported only here, so that a missing key is found even faster.
    from tunebench_jobs.prompts import check_prompt_set  # noqa: PLC0415

    folder = find_prompts(config.prompts, context.prompts_dir)
    with _place("spec.prompts"):
        report = check_prompt_set(folder, parse_variables(config.prompts.variables))
    missing = [str(tool) for tool in config.tools if tool not in report.tools]
    failures: list[JobError] = []
    if missing:
        msg = (
            f"`spec.prompts` must have the tools that `spec.tools` names, but `{report.name}` has "
            f"got none for {', '.join(missing)}; add their tables, or remove the tools"
        )
        failures.append(InputError(msg, reason="InvalidPromptSet"))
    if report.evaluate is None:
        msg = (
            f"`spec.prompts` must have `[pr_evaluate_prompt]` for the judges, but `{report.name}` "
            "has got none; add the file that holds it"
        )
        failures.append(InputError(msg, reason="InvalidPromptSet"))
    if config.scores and report.quality is None:
        msg = (
            "`spec.prompts` must have `[pr_quality_prompt]` for `spec.dataset.cleaning.quality`, "
            f"but `{report.name}` has got none; add a file with it, such as the `quality.toml` of "
            "the prompt set `default`"
        )
        failures.append(InputError(msg, reason="InvalidPromptSet"))
    raise_together(failures)


def check_keys(config: PreflightConfig, environment: Mapping[str, str]) -> None:
    """Check that the keys which the run names are set.

    Raises:
        InputError: Some are not.
    """
    checks: list[Callable[[], object]] = [
        *(partial(build_endpoint, spec, field, environment) for field, spec in list_asked(config)),
        *(
            partial(find_secret, each.secret_ref, f"{each.field}.secretRef", environment)
            for each in config.secrets
        ),
    ]
    raise_together([failure for check in checks for failure in _catch(check)])


def check_providers(config: PreflightConfig) -> None:
    """Check that LiteLLM knows every provider, and finds its key where the run names none.

    Raises:
        InputError: It does not.
    """
    asked = list_asked(config)
    if not asked:
        return
    # Imported only now, because that takes seconds.
    litellm = load_litellm()
    raise_together(
        [
            failure
            for field, spec in asked
            for failure in _catch(partial(_check_provider, litellm, field, spec))
        ]
    )


def check_parameters(config: PreflightConfig) -> None:
    """Check that the baseline and those who make training data take their parameters.

    Raises:
        InputError: One does not.
    """
    asked = [each for each in list_asked(config) if not isinstance(each.spec, JudgeSpec)]
    failures = [failure for each in asked for failure in _catch(partial(_check_parameters, each))]
    # The check of providers says who is unknown.
    raise_together([failure for failure in failures if failure.reason != "UnknownModel"])


def check_prices(config: PreflightConfig) -> None:
    """Check that what makes training data has a price, and can reply at such a length.

    What all of it will cost is known only when the sources are read: the data stage says it before
    it asks anything.

    Raises:
        InputError: Nobody knows the price, or the model gives no replies of `maxTokens`.
    """
    raise_together(
        [
            failure
            for field, spec in ((maker.field, maker.llm) for maker in config.makers)
            for check in (find_prices, _check_length)
            for failure in _catch(partial(check, spec, field))
        ]
    )


def check_servers(
    config: PreflightConfig, find_silence: Callable[[str], str | None] | None = None
) -> dict[str, JobError]:
    """Check that something answers at every `apiBase`; a vendor is not asked, which may cost.

    Judges that are away and may be are returned.

    Raises:
        InputError: An address is none.
        RetryableError: A server is away.
    """
    find_silence = find_silence or find_server_silence
    own = [(field, spec.api_base) for field, spec in list_asked(config) if spec.api_base]
    raise_together([failure for place in own for failure in _catch(partial(_check_url, *place))])
    addresses = sorted({address for _, address in own})
    with ThreadPoolExecutor() as pool:
        silence = dict(zip(addresses, pool.map(find_silence, addresses), strict=True))
    away = {
        field: RetryableError(
            f"`{field}.apiBase` must be the address of a server that answers, got {address}: "
            f"{silence[address]}; start the server, or correct the address",
            reason="ServerUnreachable",
        )
        for field, address in own
        if silence[address]
    }
    return excuse_absent(config, away)


def find_server_silence(address: str) -> str | None:
    """Return why a server does not answer, or None where it does, whatever it says."""
    try:
        reply = httpx.get(
            f"{address.rstrip('/')}/models",
            timeout=_SERVER_TIMEOUT,
            # No key is sent: whom the certificate names matters when something is.
            verify=False,  # noqa: S501 - likewise
        )
    except httpx.HTTPError as error:
        return str(error) or type(error).__name__
    return f"HTTP {reply.status_code}" if reply.status_code in _NOTHING_BEHIND else None


def check_sources(config: PreflightConfig, environment: Mapping[str, str]) -> None:
    """Check that GitHub answers and takes the token, where pull requests come from there.

    Raises:
        InputError: A token is absent or refused, or an address is none of an API.
        RetryableError: A server is away.
    """
    if not config.git_hub:
        return
    # Imported only now, because most runs ask nobody for pull requests.
    from tunebench_jobs.data.github.check import check_github  # noqa: PLC0415

    raise_together(
        [
            failure
            for each in config.git_hub
            for failure in _catch(partial(check_github, each.source, each.field, environment))
        ]
    )


def survey_judges(config: PreflightConfig, context: StageContext) -> Survey | None:
    """Look at the judges that are LLMs; nothing where there are none."""
    if all(judge.model == REFERENCE_JUDGE for judge in config.judges):
        return None
    # Imported only now, because it loads what renders prompts.
    from tunebench_jobs.judge.preflight import survey_judges as survey  # noqa: PLC0415

    context.report(Progress(message="looking at the judges"))
    return survey(config, context)


def ask_judges(config: PreflightConfig, environment: Mapping[str, str]) -> dict[str, JobError]:
    """Ask each judge that is an LLM for one word; return those that are away and may be.

    Raises:
        JobError: Others gave none.
    """
    from tunebench_jobs.judge.preflight import ask_judges as ask  # noqa: PLC0415 - as above

    return excuse_absent(config, ask(config, environment))


def check_bases(config: PreflightConfig) -> None:
    """Check that every base model exists, without its weights.

    Raises:
        InputError: One does not exist or cannot be used.
        RetryableError: The model hub does not answer.
    """
    if not config.bases:
        return
    # Imported only now, because what reads models is slow to import.
    from tunebench_jobs.models import check_base  # noqa: PLC0415

    def check(models: Iterable[str], base: Any) -> None:
        with _place(f"spec.models[{', '.join(models)}]"):
            check_base(base)

    raise_together(
        [
            failure
            for each in config.bases
            for failure in _catch(partial(check, each.models, each.base))
        ]
    )


def read_base_shapes(config: PreflightConfig) -> dict[str, dict[str, Any]]:
    """Return the sizes of the base models, by `base`, as far as they can be read."""
    if not config.bases:
        return {}
    from tunebench_jobs.shapes import read_shapes  # noqa: PLC0415 - as above

    return read_shapes(each.base for each in config.bases)


def place_of(judge: JudgeSpec) -> str:
    """Return a judge's place in the run."""
    return f"spec.judges[{judge.name}]"


def _check_length(spec: LlmSpec, field: str) -> None:
    most = find_model_facts(load_litellm(), spec.model).get("max_output_tokens")
    if most is not None and spec.max_tokens > most:
        msg = (
            f"`{field}.maxTokens` must be at most {most:,}, the longest reply of `{spec.model}`, "
            f"got {spec.max_tokens:,}"
        )
        raise InputError(msg, reason="ReplyTooLong")


def _check_provider(litellm: Any, field: str, spec: JudgeSpec | BaselineSpec | LlmSpec) -> None:
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


def _check_parameters(asked: Asked) -> None:
    spec = asked.spec
    endpoint = Endpoint(
        model=spec.model or "",
        api_base=spec.api_base,
        temperature=float(spec.temperature),
        max_tokens=spec.max_tokens,
    )
    adapt_parameters(endpoint, asked.field)


def _check_url(field: str, address: str) -> None:
    try:
        httpx.URL(address)
    except httpx.InvalidURL as error:
        msg = f"`{field}.apiBase` must be an address such as http://HOST:8000/v1: {error}"
        raise InputError(msg, reason="InvalidAddress") from error


def _catch(check: Callable[[], object]) -> list[JobError]:
    """Return the failure of a check, if it fails."""
    try:
        check()
    except JobError as failure:
        return [failure]
    return []


@contextmanager
def _place(field: str) -> Iterator[None]:
    """Let a failure that does not name a field of the run name this one."""
    try:
        yield
    except JobError as failure:
        if parse_problem(str(failure)).field:
            raise
        msg = f"`{field}` cannot be used: {failure}"
        raise type(failure)(msg, reason=failure.reason) from failure
