"""The training loss, against the plain one of the model itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from make_train_examples import make_train_examples
from tiny_models import build_tiny_model, build_tiny_tokenizer
from torch import nn

from tunebench_jobs.chat import IGNORED_LABEL, Example
from tunebench_jobs.train.loss import AnswerLoss, build_rows

pytestmark = pytest.mark.jobs

CPU = torch.device("cpu")
PADDING = 3


@pytest.fixture(name="examples", scope="module")
def fixture_examples() -> list[Example]:
    """Return examples of different lengths, prompts and answers."""
    return make_train_examples()


@pytest.fixture(name="model", scope="module")
def fixture_model() -> Any:
    """Return a tiny model with random weights."""
    return build_tiny_model(len(build_tiny_tokenizer())).train()


def _sum_plain_losses(model: Any, examples: list[Example]) -> torch.Tensor:
    """Add up the model's own loss, one example at a time, all logits computed."""
    total = torch.zeros(())
    for example in examples:
        loss = model(
            input_ids=torch.tensor([example.input_ids]), labels=torch.tensor([example.labels])
        ).loss
        total = total + loss * example.answer_tokens
    return total


def _compute_gradients(model: Any, loss: torch.Tensor) -> list[torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


def test_loss_and_gradients_equal_the_plain_ones(model: Any, examples: list[Example]) -> None:
    """Leaving out logits, padding on the right and no attention mask change nothing."""
    loss = AnswerLoss(model, autocast=None)
    plain = _sum_plain_losses(model, examples)
    expected = _compute_gradients(model, plain)

    summed = loss(*build_rows(examples, PADDING, CPU))
    gradients = _compute_gradients(model, summed)

    assert loss.sparse
    torch.testing.assert_close(summed, plain, rtol=1e-5, atol=1e-4)
    for got, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4)


def test_model_that_cannot_leave_out_logits_gets_the_same_loss(
    model: Any, examples: list[Example]
) -> None:
    """An architecture without `logits_to_keep` is trained all the same."""

    class Plain(nn.Module):  # type: ignore[misc] # torch has no types here
        """A model whose forward pass always returns all logits."""

        def forward(self, input_ids: torch.Tensor, *, use_cache: bool) -> Any:
            """Compute all logits."""
            return model(input_ids=input_ids, use_cache=use_cache)

    rows = build_rows(examples, PADDING, CPU)
    dense = AnswerLoss(Plain(), autocast=None)

    assert not dense.sparse
    torch.testing.assert_close(dense(*rows), AnswerLoss(model, autocast=None)(*rows))


def test_only_answers_are_learnt(model: Any, examples: list[Example]) -> None:
    """Another prompt of the same length changes the loss through attention, never as a target."""
    ids, labels, _ = build_rows(examples[:1], PADDING, CPU)
    logits = model(input_ids=ids).logits[0, :-1]
    targets = labels[0, 1:]
    learnt = targets != IGNORED_LABEL

    by_hand = -logits.log_softmax(-1)[learnt].gather(1, targets[learnt][:, None]).sum()

    assert 0 < int(learnt.sum()) < len(targets)
    torch.testing.assert_close(AnswerLoss(model, autocast=None)(ids, labels), by_hand)


def test_bfloat16_comes_close(model: Any, examples: list[Example]) -> None:
    """Arithmetic in bfloat16 gives nearly the same loss."""
    rows = build_rows(examples, PADDING, CPU)

    exact = AnswerLoss(model, autocast=None)(*rows)
    rounded = AnswerLoss(model, autocast=torch.bfloat16)(*rows)

    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=0.02, atol=0.0)
