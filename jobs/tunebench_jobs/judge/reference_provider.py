"""The reference judge behind LiteLLM's door, so that it goes the way of every other judge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunebench_api.v1alpha1 import REFERENCE_JUDGE
from tunebench_jobs.answers import parse_answer
from tunebench_jobs.errors import InputError
from tunebench_jobs.judge.comparisons import Comparison
from tunebench_jobs.judge.reference import ReferenceCase, build_reference_reply
from tunebench_jobs.litellm_calls import load_litellm

# Name of the parameter by which a call carries what the prompt must not show.
CASE_PARAMETER = "reference_case"


def build_reference_case(comparison: Comparison, field: str) -> Mapping[str, Any]:
    """Return what a call to the reference judge carries beside the messages.

    Raises:
        InputError: The task has no good answer, or one that is no valid answer.
    """
    task = comparison.task
    remedy = (
        f"give the evaluation row of `{task.pr}` a valid `answers.{task.tool}`, or use an LLM as "
        f"`{field}.model`: the reference judge compares with this answer"
    )
    if task.reference is None:
        msg = f"task `{task.id}` must have a reference answer, got none; {remedy}"
        raise InputError(msg, reason="MissingReference")
    parsed = parse_answer(task.tool, task.reference, semantic_files=task.semantic_files)
    if parsed.data is None:
        msg = f"the reference answer of task `{task.id}` must be valid: {parsed.problem}; {remedy}"
        raise InputError(msg, reason="InvalidReference")
    first, second = comparison.completions
    case = ReferenceCase(
        tool=task.tool,
        semantic_files=task.semantic_files,
        reference=task.reference,
        first=first,
        second=second,
    )
    return {CASE_PARAMETER: case.model_dump(mode="json")}


def register_reference_judge() -> None:
    """Make LiteLLM answer calls to `tunebench/reference` in this process."""
    litellm = load_litellm()

    class Provider(litellm.CustomLLM):  # type: ignore[misc,name-defined]  # LiteLLM has no types
        """Answers from the call's own parameters."""

        async def acompletion(self, **call: Any) -> Any:
            """Return LiteLLM's reply object with the verdict in it."""
            case = ReferenceCase.model_validate(call["optional_params"][CASE_PARAMETER])
            response = call["model_response"]
            response.choices[0].message.content = build_reference_reply(case)
            return response

    name = REFERENCE_JUDGE.partition("/")[0]
    others = [each for each in litellm.custom_provider_map if each["provider"] != name]
    litellm.custom_provider_map = [*others, {"provider": name, "custom_handler": Provider()}]
    # Otherwise done by the layer around its calls.
    litellm.utils.custom_llm_setup()
