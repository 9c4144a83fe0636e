"""What makes training faster changes nothing: losses, gradients and files are the plain ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from make_train_examples import make_train_examples
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora.layer import Linear
from safetensors.torch import load_file
from tiny_architectures import ARCHITECTURES, build_architecture
from tiny_models import build_tiny_model, build_tiny_tokenizer
from torch import nn

from tunebench_api.v1alpha1 import TuningMethod, TuningSpec
from tunebench_jobs.chat import IGNORED_LABEL, Example
from tunebench_jobs.train.answer_rows import use_answer_rows
from tunebench_jobs.train.fused_lora import FusedLoraLinear, count_fused
from tunebench_jobs.train.loss import AnswerLoss, Rows, build_packed_row, build_rows
from tunebench_jobs.train.prepare import build_lora_config
from tunebench_jobs.train.segments import use_segments
from tunebench_jobs.train.shortcuts import take_shortcuts
from tunebench_jobs.train.varlen import AttentionFacts, can_take_rows, find_facts, try_rows

pytestmark = [
    pytest.mark.jobs,
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]

CPU = torch.device("cpu")
# Its blocks are of a kind of their own.
WHOLE_BLOCKS = {"gpt-bigcode"}


@pytest.fixture(name="examples", scope="module")
def fixture_examples() -> list[Example]:
    """Return examples of different lengths, prompts and answers."""
    return make_train_examples()


def _build(name: str, **lora: Any) -> Any:
    """Build a model whose adapters are no longer zero."""
    model = build_architecture(name, len(build_tiny_tokenizer())).train()
    tuning = TuningSpec.from_wire({"lora": lora})
    torch.manual_seed(1)
    model = get_peft_model(model, build_lora_config(model, tuning))
    for key, part in model.named_parameters():
        if "lora_B" in key:
            nn.init.normal_(part, std=0.1)
    return model


def _unfuse(model: Any) -> Any:
    """Turn the layers into PEFT's own."""
    for part in model.modules():
        if isinstance(part, FusedLoraLinear):
            part.__class__ = Linear
    return model


def _compute(
    model: Any, rows: Rows, *, autocast: torch.dtype | None = None, answer_rows: bool = False
) -> dict[str, torch.Tensor]:
    """Return the loss and all gradients."""
    model.zero_grad()
    loss = AnswerLoss(model, autocast=autocast, answer_rows=answer_rows)(*rows)
    loss.backward()
    named = model.named_parameters()
    found = {key: part.grad.clone() for key, part in named if part.grad is not None}
    return found | {"loss": loss.detach()}


def _assert_same(
    found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float = 1e-4
) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        scale = float(value.abs().max())
        torch.testing.assert_close(found[key], value, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_fused_adapters_learn_as_peft_does(name: str, examples: list[Example]) -> None:
    """Loss and gradients are those of PEFT's own layers, and all layers are fused."""
    model = _build(name)
    rows = build_rows(examples, 0, CPU)
    layers = sum(hasattr(part, "lora_A") for part in model.modules())

    assert count_fused(model) == layers > 0
    fused = _compute(model, rows)
    _assert_same(fused, _compute(_unfuse(model), rows))


def test_fused_adapters_come_as_close_in_bfloat16(examples: list[Example]) -> None:
    """Rounding is not worse than that of PEFT's own layers."""
    rows = build_rows(examples, 0, CPU)
    model = _build("llama-gqa-bias")
    exact = _compute(model, rows)
    fused = _compute(model, rows, autocast=torch.bfloat16)
    plain = _compute(_unfuse(model), rows, autocast=torch.bfloat16)

    def err(found: dict[str, torch.Tensor]) -> float:
        return sum(float((found[key] - value).norm()) for key, value in exact.items())

    assert err(fused) < 1.1 * err(plain)
    assert all(fused[key].dtype == torch.float32 for key in fused)


def _add_adapter(model: Any) -> None:
    model.add_adapter("second", LoraConfig(target_modules=["q_proj"], init_lora_weights=False))
    model.base_model.set_adapter(["default", "second"])


def _train_base(model: Any) -> None:
    for key, part in model.named_parameters():
        if "base_layer" in key:
            part.requires_grad_(requires_grad=True)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda model: model.merge_adapter(), id="merged"),
        pytest.param(lambda model: model.base_model.disable_adapter_layers(), id="switched off"),
        pytest.param(lambda model: model.eval(), id="not training"),
        pytest.param(_add_adapter, id="two adapters"),
        pytest.param(_train_base, id="base is trained too"),
    ],
)
def test_what_is_not_plain_is_left_to_peft(change: Any, examples: list[Example]) -> None:
    """A fused layer in another state gives what PEFT's gives in it."""
    rows = build_rows(examples[:1], 0, CPU)
    found = []
    for unfuse in (False, True):
        model = _build("llama-gqa")
        if unfuse:
            _unfuse(model)
        change(model)
        loss = AnswerLoss(model, autocast=None)(*rows)
        if loss.requires_grad:
            loss.backward()
        named = model.named_parameters()
        found.append({key: part.grad for key, part in named if part.grad is not None})
        found[-1]["loss"] = loss.detach()

    _assert_same(found[0], found[1])


def test_dropout_is_left_to_peft(examples: list[Example]) -> None:
    """With dropout, the same random numbers give the same loss."""
    rows = build_rows(examples[:1], 0, CPU)
    model = _build("llama-gqa", dropout="0.5")
    torch.manual_seed(3)
    fused = _compute(model, rows)
    torch.manual_seed(4)
    other = _compute(model, rows)
    torch.manual_seed(3)

    _assert_same(fused, _compute(_unfuse(model), rows))
    assert not torch.equal(fused["loss"], other["loss"])


def test_plain_peft_loads_what_fused_adapters_saved(
    tmp_path: Path, examples: list[Example]
) -> None:
    """Files have PEFT's names and nothing else, and give the same loss there."""
    rows = build_rows(examples, 0, CPU)
    model = _build("llama-gqa")
    model.save_pretrained(tmp_path)
    base = build_architecture("llama-gqa", len(build_tiny_tokenizer())).train()
    plain = PeftModel.from_pretrained(base, str(tmp_path), is_trainable=True).train()

    assert count_fused(plain) == 0
    assert "custom" not in (tmp_path / "adapter_config.json").read_text()
    assert set(load_file(tmp_path / "adapter_model.safetensors")) == {
        key.replace(".default", "") for key, _ in model.named_parameters() if "lora_" in key
    }
    _assert_same(_compute(plain, rows), _compute(model, rows))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_last_block_may_leave_out_prompts(name: str, examples: list[Example]) -> None:
    """Loss and gradients stay, in padded and in packed rows, where a block can be cut short."""
    padded = build_rows(examples, 0, CPU)
    packed = build_packed_row(examples, CPU)
    plain, quick = _build(name), _build(name)
    expected = _compute(plain, padded)

    assert use_answer_rows(quick) is (name not in WHOLE_BLOCKS)
    if name in WHOLE_BLOCKS:
        return
    _assert_same(_compute(quick, padded, answer_rows=True), expected)
    use_segments(quick)
    _assert_same(_compute(quick, packed, answer_rows=True), expected)


def test_a_trained_base_stays_the_same_too(examples: list[Example]) -> None:
    """Full fine-tuning gets the gradients of all weights."""
    rows = build_packed_row(examples, CPU)
    found = []
    for short in (False, True):
        model = build_tiny_model(len(build_tiny_tokenizer())).train()
        use_segments(model)
        found.append(_compute(model, rows, answer_rows=short and use_answer_rows(model)))

    _assert_same(found[1], found[0])


def test_an_example_without_labels_takes_no_part(examples: list[Example]) -> None:
    """In a packed row, an example that teaches nothing leaves the others' loss alone."""
    silent = Example(examples[0].input_ids, (IGNORED_LABEL,) * len(examples[0].input_ids))
    model = _build("mistral-window")
    use_segments(model)
    use_answer_rows(model)

    alone = _compute(model, build_packed_row(examples[1:2], CPU), answer_rows=True)
    beside = _compute(model, build_packed_row([silent, *examples[1:2]], CPU), answer_rows=True)
    _assert_same(beside, alone)


def test_the_last_block_works_on_answers_alone(examples: list[Example]) -> None:
    """Its feed-forward part sees as many positions as there are answer tokens, the others all."""
    model = build_tiny_model(len(build_tiny_tokenizer())).train()
    seen: list[int] = []
    for layer in model.model.layers:
        layer.mlp.register_forward_hook(lambda _, given, __: seen.append(given[0].shape[1]))
    use_segments(model)
    rows = build_packed_row(examples, CPU)
    _compute(model, rows, answer_rows=use_answer_rows(model))

    assert seen[-1] == rows.count_learnt()
    assert set(seen[:-1]) == {rows.ids.shape[1]}


FACTS = AttentionFacts("cuda", (9, 0), torch.bfloat16, 128)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        pytest.param(FACTS, True, id="Hopper in bfloat16"),
        pytest.param(replace(FACTS, capability=(8, 0)), True, id="Ampere"),
        pytest.param(replace(FACTS, capability=(7, 5)), False, id="too old"),
        pytest.param(replace(FACTS, device="cpu", capability=None), False, id="no GPU"),
        pytest.param(replace(FACTS, dtype=torch.float32), False, id="float32"),
        pytest.param(replace(FACTS, head_size=36), False, id="odd heads"),
        pytest.param(replace(FACTS, head_size=512), False, id="large heads"),
        pytest.param(replace(FACTS, dropout=0.1), False, id="dropout of attention weights"),
    ],
)
def test_hardware_and_model_choose_the_kernel(facts: AttentionFacts, *, expected: bool) -> None:
    """The kernel for whole rows is for GPUs that have it, and models that it can serve."""
    assert can_take_rows(facts) is expected


def test_a_kernel_that_does_not_work_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    """It is tried out first; here, without a GPU, it fails, and the log says so."""
    model = build_architecture("mistral-window", len(build_tiny_tokenizer()))

    assert not try_rows(model, CPU, torch.bfloat16)
    assert "example by example" in caplog.text


def test_facts_are_those_of_the_model() -> None:
    """Sizes come from the config, whatever the architecture calls them."""
    gemma, bigcode = (
        find_facts(build_architecture(name, 400), CPU, torch.float32)
        for name in ("gemma", "gpt-bigcode")
    )

    assert gemma == AttentionFacts("cpu", None, torch.float32, 32)
    assert bigcode == AttentionFacts("cpu", None, torch.float32, 16)


@pytest.mark.parametrize(
    ("name", "tuning", "expected"),
    [
        pytest.param("llama-gqa", {}, ("SDPAByExample", "Fused", "AnswersOnly"), id="plain"),
        pytest.param("gpt-bigcode", {}, ("SDPAByExample", "Fused", "Whole"), id="other blocks"),
        pytest.param(
            "llama-gqa",
            {"lora": {"dropout": "0.1"}},
            ("SDPAByExample", "PEFT", "AnswersOnly"),
            id="dropout",
        ),
        pytest.param(
            "llama-gqa", {"method": "Full"}, ("SDPAByExample", "None", "AnswersOnly"), id="full"
        ),
    ],
)
def test_the_result_names_what_was_chosen(
    name: str, tuning: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    """Attention, adapters and last block, as they are computed."""
    spec = TuningSpec.from_wire(tuning)
    model = build_architecture(name, len(build_tiny_tokenizer()))
    if spec.method is TuningMethod.LORA:
        model = get_peft_model(model, build_lora_config(model, spec))
    found = take_shortcuts(model, spec, CPU, half=False)

    assert (found.attention, found.adapters, found.last_block) == expected
    assert found.unpadded
