"""Activations that are computed again: the same loss and gradients, and less that is kept."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from make_train_examples import make_train_examples
from peft import LoraConfig, get_peft_model
from tiny_architectures import ARCHITECTURES, build_architecture
from tiny_models import build_tiny_tokenizer

from tunebench_jobs.chat import Example
from tunebench_jobs.train.answer_rows import use_answer_rows
from tunebench_jobs.train.loss import AnswerLoss, build_packed_row, build_rows
from tunebench_jobs.train.memory import recompute_activations
from tunebench_jobs.train.segments import use_segments

pytestmark = [
    pytest.mark.jobs,
    # PEFT asks for it by its old name.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]

CPU = torch.device("cpu")


@pytest.fixture(name="examples", scope="module")
def fixture_examples() -> list[Example]:
    """Return examples of different lengths."""
    return make_train_examples()


def build_model(name: str, *, dropout: float) -> Any:
    """Return a tiny model with adapters that change something."""
    model = build_architecture(name, len(build_tiny_tokenizer()))
    torch.manual_seed(0)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=4,
        lora_dropout=dropout,
        target_modules="all-linear",
        init_lora_weights=False,
    )
    return get_peft_model(model, config)


def learn(model: Any, rows: Any, *, answers: bool) -> tuple[float, dict[str, torch.Tensor], int]:
    """Return loss, gradients and the bytes that were kept for the backward pass."""
    kept: dict[int, int] = {}
    weights = {part.untyped_storage().data_ptr() for part in model.parameters()}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    torch.manual_seed(1)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = AnswerLoss(model.train(), autocast=None, answer_rows=answers)(*rows)
    size = sum(kept.values())
    loss.backward()
    gradients = {
        name: part.grad.clone() for name, part in model.named_parameters() if part.grad is not None
    }
    return float(loss.detach()), gradients, size


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_same_is_learnt_with_less_memory(
    name: str, examples: list[Example], *, packed: bool
) -> None:
    """Dropout draws the same numbers again, and a row of several examples keeps them apart."""
    rows = build_packed_row(examples, CPU) if packed else build_rows(examples, 0, CPU)
    found = []
    for again in (False, True):
        model = build_model(name, dropout=0.1)
        if packed:
            use_segments(model)
        answers = use_answer_rows(model)
        if again:
            recompute_activations(model)
        found.append(learn(model, rows, answers=answers))
    (loss, gradients, kept), (loss_again, gradients_again, kept_again) = found

    assert loss_again == pytest.approx(loss, rel=1e-6)
    assert gradients.keys() == gradients_again.keys()
    assert any(float(gradient.abs().max()) > 0 for gradient in gradients.values())
    for key, value in gradients.items():
        torch.testing.assert_close(gradients_again[key], value, rtol=1e-5, atol=1e-6)
    # Of two blocks, the last one keeps little anyway.
    assert kept_again < 0.6 * kept
