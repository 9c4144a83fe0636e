"""What would go wrong with a judge, or cost too much, is known before a model is trained."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from batch_server import KEY, BatchVendor, serving_batches

from tunebench_api.contract import PreflightConfig, Runtime
from tunebench_jobs.context import Outcome, StageContext
from tunebench_jobs.errors import InputError, RetryableError
from tunebench_jobs.llm import Endpoint, ask
from tunebench_jobs.parameters import adapt_parameters, find_sent
from tunebench_jobs.preflight import check_parameters, run_preflight

pytestmark = pytest.mark.jobs

PROMPTS = Path(__file__).parents[2] / "prompts"
SCALE = {
    "tasks": 300,
    "variants": 4,
    "taskTokens": 6000,
    "exact": True,
    "completionTokens": 1000,
    "baselineTokens": 1000,
}


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the right key."""
    monkeypatch.setenv("VENDOR_KEY", KEY)


@pytest.fixture
def vendor() -> Iterator[tuple[str, BatchVendor]]:
    """Start a vendor."""
    served = BatchVendor()
    with serving_batches(served) as address:
        yield address, served


def make_config(*judges: dict[str, Any], **changes: Any) -> PreflightConfig:
    """Return the config of a run whose judges have the key of the vendor."""
    secret = {"name": "keys", "key": "VENDOR_KEY"}
    raw = {
        "bases": [],
        "judges": [{"name": f"j{n}", "secretRef": secret, **each} for n, each in enumerate(judges)],
        "baseline": {"name": "stored", "completions": {"uri": "x.jsonl"}},
        "prompts": {"builtin": "compact"},
        "tools": ["Describe"],
        "scale": SCALE,
        "judging": {"probe": "Disabled"},
    }
    return PreflightConfig.from_wire({**raw, **changes})


def look(tmp_path: Path, config: PreflightConfig) -> Outcome:
    """Carry out the preflight."""
    report = str(tmp_path / "report.json")
    runtime = Runtime(store=str(tmp_path), output="out", report=report, prompts_dir=str(PROMPTS))
    return run_preflight(config, StageContext(runtime))


@pytest.mark.parametrize(
    ("model", "sent"),
    [
        pytest.param("openai/gpt-4o", {"temperature": 0.0, "max_tokens": 500}, id="plain"),
        pytest.param("openai/o3-mini", {"max_completion_tokens": 500}, id="o-series"),
        pytest.param("openai/gpt-5-mini", {"max_completion_tokens": 500}, id="gpt-5"),
        pytest.param(
            "anthropic/claude-sonnet-4-5-20250929",
            {"temperature": 0.0, "max_tokens": 500},
            id="anthropic",
        ),
        pytest.param(
            "gemini/gemini-2.5-pro", {"temperature": 0.0, "max_output_tokens": 500}, id="gemini"
        ),
    ],
)
def test_a_model_is_sent_what_it_takes(model: str, sent: dict[str, Any]) -> None:
    """Temperature 0 where that is allowed, and the limit by the vendor's name for it."""
    endpoint = Endpoint(model, temperature=0.0, max_tokens=500)

    assert find_sent(adapt_parameters(endpoint, "spec.judges[j]", lenient=True)) == sent


async def test_what_is_recorded_is_what_arrives(vendor: tuple[str, BatchVendor]) -> None:
    """The vendor sees the parameters that the record names, and no others."""
    address, served = vendor
    plain = Endpoint("openai/o3-mini", address, KEY, temperature=0.0, max_tokens=500)
    endpoint = adapt_parameters(plain, "spec.judges[j]", lenient=True)
    await ask(endpoint, [{"role": "user", "content": "hello"}], retries=0)
    (body,) = served.chats

    assert {name: body[name] for name in body.keys() - {"model", "messages"}} == find_sent(endpoint)


def test_a_temperature_that_a_model_does_not_take_is_refused(tmp_path: Path) -> None:
    """One that was asked for is never left out in silence."""
    with pytest.raises(InputError, match=r"`spec\.judges\[j0\]\.temperature` must.*got 0\.7") as at:
        look(tmp_path, make_config({"model": "openai/o3-mini", "temperature": "0.7"}))
    assert at.value.reason == "UnsupportedParameter"
    baseline = {"name": "b", "model": "openai/o3-mini", "temperature": "0"}
    with pytest.raises(InputError, match=r"`spec\.baseline\.temperature` must"):
        check_parameters(make_config(baseline=baseline))
    look(tmp_path, make_config({"model": "openai/o3-mini", "temperature": "1"}))


def test_context_cost_and_parameters_are_said(tmp_path: Path) -> None:
    """Each judge has its line, and all have a sum; what nobody knows is called unknown."""
    outcome = look(
        tmp_path,
        make_config(
            {"model": "openai/gpt-4o-2024-11-20"},
            {"model": "openai/gpt-4o-2024-11-20", "batch": "Enabled"},
            {"model": "openai/unheard-of"},
            {"model": "openai/o3-mini"},
        ),
    )
    first, batched, unknown, reasoning = outcome.summary["outlook"]

    assert first["contextTokens"] == 128_000
    assert first["mostQuestions"] == 300 * 4 * 2
    assert 8000 < first["mostPromptTokens"] < 9000
    assert float(batched["mostUSD"]) == pytest.approx(float(first["mostUSD"]) / 2, abs=0.01)
    assert (unknown["contextTokens"], unknown["mostUSD"]) == (None, None)
    assert reasoning["sent"] == {"max_completion_tokens": 1024}
    assert "judge `j0`: 128,000 tokens of context" in outcome.message
    assert "judge `j2`: an unknown context" in outcome.message
    assert "and what the others cost" in outcome.message


def test_a_judge_that_cannot_see_all_is_refused(tmp_path: Path) -> None:
    """Nothing is cut: the longest comparison must fit."""
    with pytest.raises(InputError, match=r"`spec\.judges\[j0\]\.model` must have a con") as caught:
        look(tmp_path, make_config({"model": "openai/gpt-4-0613"}))
    assert caught.value.reason == "ContextTooShort"
    look(tmp_path, make_config({"model": "openai/gpt-4-0613"}, scale={**SCALE, "taskTokens": 2000}))


def test_a_budget_that_may_not_be_enough_is_said(tmp_path: Path) -> None:
    """It stops nothing; one that cannot be kept does."""
    judging = {"probe": "Disabled", "budgetUSD": "5"}
    outcome = look(tmp_path, make_config({"model": "openai/gpt-4o-2024-11-20"}, judging=judging))
    unknown = make_config({"model": "openai/unheard-of"}, judging=judging)
    priced = {"inputUSDPerMillion": "0.001", "outputUSDPerMillion": "0.001"}
    cheap = make_config({"model": "openai/unheard-of", "prices": priced}, judging=judging)

    assert "warning: judges cost at most $" in outcome.message
    assert "more than `spec.judging.budgetUSD` (5)" in outcome.message
    with pytest.raises(InputError, match=r"`spec\.judges\[j0\]\.prices` must"):
        look(tmp_path, unknown)
    assert "judges cost at most $0.02 of $5" in look(tmp_path, cheap).message


def test_batches_are_refused_where_there_are_none(tmp_path: Path) -> None:
    """LiteLLM begins none at Anthropic."""
    judge = {"model": "anthropic/claude-sonnet-4-5-20250929", "batch": "Enabled"}

    with pytest.raises(InputError, match=r"`spec\.judges\[j0\]\.batch` must be Disabled"):
        look(tmp_path, make_config(judge))


def test_who_is_away_is_told_to_whoever_judges(
    tmp_path: Path, vendor: tuple[str, BatchVendor]
) -> None:
    """By name, so that the first variant does not wait for it."""
    dead = {"model": "openai/mine-0", "apiBase": "http://127.0.0.1:9/v1"}
    alive = {"model": "openai/mine-1", "apiBase": vendor[0]}
    outcome = look(tmp_path, make_config(dead, alive, judging={"onUnavailable": "Skip"}))

    assert outcome.summary["absent_judges"] == ["j0"]


def test_a_wrong_key_is_found_with_one_word(
    tmp_path: Path, vendor: tuple[str, BatchVendor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every judge is asked once, as it will be; the message names the field and not the key."""
    address, served = vendor
    judges = [{"model": f"openai/mine-{n}", "apiBase": address} for n in range(2)]
    config = make_config(*judges, judging={})
    look(tmp_path, config)
    asked = [body["model"] for body in served.chats]
    monkeypatch.setenv("VENDOR_KEY", "sk-some-wrong-key")

    assert sorted(asked) == ["mine-0", "mine-1"]
    assert served.chats[0]["max_tokens"] == 1024
    with pytest.raises(InputError, match=r"`spec\.judges\[j0\]\.secretRef`: judge `j0`") as caught:
        look(tmp_path, config)
    assert caught.value.reason == "AuthenticationFailed"
    assert "sk-some-wrong-key" not in str(caught.value)
    look(tmp_path, make_config(*judges))


@pytest.mark.parametrize(
    ("status", "code", "failure"),
    [
        pytest.param(429, "rate_limit_exceeded", None, id="busy with others"),
        pytest.param(429, "insufficient_quota", RetryableError, id="no money"),
        pytest.param(404, "model_not_found", InputError, id="no such model"),
    ],
)
def test_what_a_judge_says_decides(
    tmp_path: Path,
    vendor: tuple[str, BatchVendor],
    status: int,
    code: str,
    failure: type[Exception] | None,
) -> None:
    """A judge that is busy is there; one that has no money or no such model is not."""
    address, served = vendor
    served.chat_error = (status, code)
    config = make_config({"model": "openai/mine", "apiBase": address}, judging={})
    if failure is None:
        look(tmp_path, config)
        return

    with pytest.raises(failure, match=f"judge `j0` does not answer.*{code}"):
        look(tmp_path, config)
