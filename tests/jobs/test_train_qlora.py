"""QLoRA: the base in 4 bits stays as it is, and is the same in training and in serving."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_benchmark import BASE, TUNING, save_stand_in, serve, train

from tunebench_api.v1alpha1 import Precision, TuningMethod, TuningSpec
from tunebench_jobs.checkpoints import ADAPTER_WEIGHTS, load_manifest
from tunebench_jobs.errors import InputError
from tunebench_jobs.models import load_model
from tunebench_jobs.train.prepare import prepare_model

pytestmark = [
    pytest.mark.jobs,
    # PEFT asks transformers in the old way.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]

CPU = torch.device("cpu")
IDS = torch.arange(5, 69)[None]


@pytest.fixture(name="store", scope="module")
def fixture_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with a model whose linear layers have biases, and what it is to learn."""
    store = tmp_path_factory.mktemp("qlora")
    save_stand_in("qwen1.5-32b", store)
    return store


@pytest.fixture(name="checkpoint", scope="module")
def fixture_checkpoint(store: Path) -> Path:
    """Return an adapter that was trained beside a base in 4 bits."""
    return train(store, TuningMethod.QLORA)


def test_base_is_packed_and_adapters_are_not(store: Path) -> None:
    """Blocks' weights take half a byte each; what is trained has the precision of LoRA."""
    tuning = TuningSpec.from_wire({**TUNING, "method": "QLoRA"})
    model = prepare_model(store / BASE, tuning, Precision.FLOAT32, 0, CPU)
    trained = {name: part for name, part in model.named_parameters() if part.requires_grad}
    packed = [part for part in model.parameters() if part.dtype is torch.uint8]
    plain = load_model(store / BASE, torch.float32)
    weights = [part.weight for part in plain.modules() if isinstance(part, torch.nn.Linear)]

    assert all("lora_" in name and part.dtype is torch.float32 for name, part in trained.items())
    # All but the output layer, which stays whole.
    assert 2 * sum(part.numel() for part in packed) == sum(each.numel() for each in weights[:-1])


@torch.no_grad()
def test_base_computes_the_same_in_training_and_in_serving(store: Path) -> None:
    """Faster kernels for serving would round in another way than training did."""
    model = load_model(store / BASE, torch.float32, nf4_device=CPU)
    learning = model.train()(IDS).logits
    serving = model.eval()(IDS).logits
    again = model.train()(IDS).logits
    whole = load_model(store / BASE, torch.float32).eval()(IDS).logits

    assert torch.equal(learning, again)
    torch.testing.assert_close(serving, learning, rtol=1e-4, atol=1e-4)
    # And it is not the base itself.
    assert not torch.allclose(learning, whole, atol=1e-2)


def test_training_again_gives_the_same_adapter(store: Path, checkpoint: Path) -> None:
    """The quantisation of weights has no randomness."""
    first = load_file(checkpoint / ADAPTER_WEIGHTS)
    (checkpoint.parent / "summary.json").unlink()

    second = load_file(train(store, TuningMethod.QLORA) / ADAPTER_WEIGHTS)

    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_manifest_counts_numbers_not_bytes(store: Path, checkpoint: Path) -> None:
    """A packed weight counts as the numbers that are in it."""
    facts = load_manifest(checkpoint).facts
    numbers = load_model(store / BASE, torch.float32).num_parameters()

    assert facts.parameters_total - facts.parameters_trained == numbers


def test_adapter_is_never_served_beside_other_weights(store: Path, checkpoint: Path) -> None:
    """Beside the whole base, it would answer otherwise than it was trained to."""
    (store / "LoRA").mkdir()
    (store / "LoRA" / "checkpoint").symlink_to(checkpoint)

    with pytest.raises(
        InputError, match=r"trained with QLoRA and must be served .* in NF4"
    ) as caught:
        serve(store, TuningMethod.LORA)

    assert caught.value.reason == "VariantsNotServable"
