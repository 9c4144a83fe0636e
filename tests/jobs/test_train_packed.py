"""Examples that share a row: each has the loss and the gradient that it has alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from make_train_examples import make_train_examples
from tiny_architectures import ARCHITECTURES, build_architecture
from tiny_models import build_tiny_tokenizer
from torch import nn

from tunebench_jobs.chat import IGNORED_LABEL, Example
from tunebench_jobs.errors import InputError
from tunebench_jobs.train.loss import AnswerLoss, build_packed_row, build_rows
from tunebench_jobs.train.segments import use_segments

pytestmark = pytest.mark.jobs

CPU = torch.device("cpu")


@pytest.fixture(name="examples", scope="module")
def fixture_examples() -> list[Example]:
    """Return examples of different lengths; most are longer than the sliding window."""
    return make_train_examples()


def _compute(
    model: nn.Module, loss: AnswerLoss, rows: Any
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    summed = loss(*rows)
    summed.backward()
    return summed.detach(), {
        name: part.grad.clone() for name, part in model.named_parameters() if part.grad is not None
    }


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_packed_loss_is_that_of_each_example_alone(name: str, examples: list[Example]) -> None:
    """To 1e-5 for each example, and the gradients of all together agree as well."""
    model = build_architecture(name, len(build_tiny_tokenizer())).train()
    loss = AnswerLoss(model, autocast=None)
    alone = [_compute(model, loss, build_rows([example], 0, CPU)) for example in examples]
    expected = {
        key: sum((gradients[key] for _, gradients in alone), torch.zeros(())) for key in alone[0][1]
    }

    use_segments(model)
    packed, gradients = _compute(model, loss, build_packed_row(examples, CPU))
    first, _ = _compute(model, loss, build_packed_row(examples[:1], CPU))

    torch.testing.assert_close(first, alone[0][0], rtol=1e-5, atol=1e-5)
    total = sum((summed for summed, _ in alone), torch.zeros(()))
    torch.testing.assert_close(packed, total, rtol=1e-5, atol=1e-5 * len(examples))
    assert gradients.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(gradients[key], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_example_does_not_see_its_neighbours(name: str, examples: list[Example]) -> None:
    """What stands before and behind an example in its row does not change its loss."""
    model = build_architecture(name, len(build_tiny_tokenizer())).train()
    use_segments(model)
    loss = AnswerLoss(model, autocast=None)
    *others, example = examples
    silent = [Example(each.input_ids, (IGNORED_LABEL,) * len(each.input_ids)) for each in others]
    with torch.no_grad():
        alone = loss(*build_packed_row([example], CPU))
        between = loss(*build_packed_row([silent[0], example, *silent[1:]], CPU))

    torch.testing.assert_close(between, alone, rtol=1e-5, atol=1e-5)


def test_the_window_counts(examples: list[Example]) -> None:
    """A model with a short sliding window loses something by it, so the test above means it."""
    size = len(build_tiny_tokenizer())
    narrow, wide = (build_architecture("mistral-window", size) for _ in range(2))
    for layer in wide.model.layers:
        layer.self_attn.config.sliding_window = None
    wide.config.sliding_window = None
    losses = []
    for model in (narrow, wide):
        use_segments(model)
        with torch.no_grad():
            losses.append(float(AnswerLoss(model, autocast=None)(*build_packed_row(examples, CPU))))

    assert losses[0] != pytest.approx(losses[1], rel=1e-6)


def test_a_model_that_cannot_be_kept_apart_is_refused() -> None:
    """An architecture whose attention cannot be replaced is no reason for a wrong number."""

    class Rigid(nn.Module):  # type: ignore[misc] # torch has no types here
        """A model that keeps its own attention, whatever it is told."""

        config = build_architecture("llama", 64).config

        def set_attn_implementation(self, name: str) -> None:
            """Change nothing."""

    with pytest.raises(InputError, match=r"`tuning\.packing` must be None for Rigid"):
        use_segments(Rigid())
