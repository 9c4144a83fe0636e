"""Each kind of model in the benchmark of 2024 is trained, kept, served and asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from tiny_benchmark import BASE, STAND_INS, build_conversations, save_stand_in, serve, train
from tokenizers import Tokenizer

from tunebench_api.v1alpha1 import LoraSpec, TuningMethod
from tunebench_jobs.chat import build_prompt_ids, find_end_tokens
from tunebench_jobs.checkpoints import load_manifest
from tunebench_jobs.models import load_model, load_tokenizer
from tunebench_jobs.serve.decoder import count_token_bytes
from tunebench_jobs.serve.protocol import ChatRequest
from tunebench_jobs.serve.service import ChatService
from tunebench_jobs.serve.text import TextStream
from tunebench_jobs.train.prepare import find_target_layers

pytestmark = [
    pytest.mark.jobs,
    pytest.mark.timeout(300),
    # PEFT asks transformers in the old way.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]

NEW_TOKENS = 16
ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj"}
LAYERS = ATTENTION | {"gate_proj", "up_proj", "down_proj"}


@pytest.fixture(name="store", scope="module", params=STAND_INS)
def fixture_store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with the stand-in of one model, and what it is to learn."""
    store = tmp_path_factory.mktemp(request.param.replace(".", "-"))
    save_stand_in(request.param, store)
    return store


def ask(service: ChatService, model: str) -> list[str]:
    """Return greedy completions of all conversations, asked at once."""

    async def ask_all() -> list[dict[str, Any]]:
        requests = [
            ChatRequest.model_validate(
                {"model": model, "messages": each, "max_tokens": NEW_TOKENS, "temperature": 0.0}
            )
            for each in build_conversations()
        ]
        return await asyncio.gather(*(service.complete(request) for request in requests))

    return [answer["choices"][0]["message"]["content"] for answer in asyncio.run(ask_all())]


def generate(model: Any, tokenizer: Any) -> list[str]:
    """Return the same by transformers' own `generate`."""
    texts = []
    for each in build_conversations():
        ids = torch.tensor([build_prompt_ids(tokenizer, each)])
        tokens = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            eos_token_id=list(find_end_tokens(tokenizer)),
            pad_token_id=tokenizer.pad_token_id,
        )
        texts.append(read(tokenizer, tokens[0, ids.shape[1] :].tolist()))
    return texts


def read(tokenizer: Any, tokens: Sequence[int]) -> str:
    """Return the text of tokens as they come: random weights write octets that are no characters.

    Decoded at once, a wrong octet takes its right neighbours with it.
    """
    stream = TextStream(tokenizer, ())
    return "".join([*map(stream.push, tokens), stream.finish()])


def load_trained(store: Path, checkpoint: Path, method: TuningMethod) -> tuple[Any, Any]:
    """Return base and trained model as transformers and PEFT load them."""
    device = "cpu" if method is TuningMethod.QLORA else None
    base = load_model(store / BASE, torch.float32, nf4_device=device).eval()
    if method is TuningMethod.FULL:
        return base, load_model(checkpoint, torch.float32).eval()
    again = load_model(store / BASE, torch.float32, nf4_device=device)
    return base, PeftModel.from_pretrained(again, checkpoint).eval()


@pytest.mark.parametrize("method", TuningMethod)
def test_base_is_trained_kept_served_and_asked(store: Path, method: TuningMethod) -> None:
    """It learns, and either variant's endpoint answers as transformers does, token by token."""
    checkpoint = train(store, method)
    facts = load_manifest(checkpoint).facts
    summary = json.loads((checkpoint.parent / "summary.json").read_bytes())
    base, trained = load_trained(store, checkpoint, method)
    tokenizer = load_tokenizer(store / BASE)
    expected = {"tuned": generate(trained, tokenizer), "untuned": generate(base, tokenizer)}
    names = ["tuned"] if method is TuningMethod.FULL else ["tuned", "untuned"]
    service = serve(store, method)
    try:
        texts = {name: ask(service, name) for name in names}
    finally:
        service._engine.close()

    assert facts.method is method
    assert facts.parameters_total - facts.parameters_trained in {0, count_numbers(store)}
    assert summary["train_loss"]["last"] < summary["train_loss"]["first"] - 0.2
    assert texts == {name: expected[name] for name in names}
    # The comparison would be empty if tuning or prompts made no difference.
    assert expected["tuned"] != expected["untuned"]
    assert len(set(expected["untuned"])) > 1
    assert_prompts_are_kept(tokenizer, load_tokenizer(checkpoint))


def count_numbers(store: Path) -> int:
    """Count the parameters of the base model."""
    numbers: int = load_model(store / BASE, torch.float32).num_parameters()
    return numbers


def assert_prompts_are_kept(before: Any, after: Any) -> None:
    """Check that a checkpoint's tokenizer makes the prompts that it was trained with."""
    assert after.chat_template == before.chat_template
    assert find_end_tokens(after) == find_end_tokens(before)
    for each in build_conversations():
        assert build_prompt_ids(after, each) == build_prompt_ids(before, each)


def test_text_becomes_the_tokens_of_its_file(store: Path) -> None:
    """No class of transformers has another idea of blanks than `tokenizer.json`."""
    tokenizer = load_tokenizer(store / BASE)
    filed = Tokenizer.from_file(str(store / BASE / "tokenizer.json"))
    for each in build_conversations():
        text = each[1]["content"]
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]

        assert ids == filed.encode(text, add_special_tokens=False).ids
        assert tokenizer.decode(ids) == text


def test_prompt_begins_with_bos_where_the_model_expects_it(store: Path) -> None:
    """Once, whether the template or the tokenizer puts it there; never where there is none."""
    tokenizer = load_tokenizer(store / BASE)
    ids = build_prompt_ids(tokenizer, build_conversations()[0])
    expected = tokenizer.bos_token_id not in {None, tokenizer.eos_token_id}

    assert ids.count(tokenizer.bos_token_id) == int(expected)
    assert (ids[0] == tokenizer.bos_token_id) == expected


def test_adapters_are_on_every_linear_layer_but_the_output(store: Path) -> None:
    """AllLinear means attention and MLP of each block; Attention means attention alone."""
    model = load_model(store / BASE, torch.float32)
    every = find_target_layers(model, LoraSpec())
    attention = find_target_layers(model, LoraSpec.from_wire({"target": "Attention"}))
    layers, heads = LAYERS, ATTENTION
    if model.config.model_type == "gpt_bigcode":
        layers = {"c_attn", "c_fc", "c_proj"}
        # The MLP has a `c_proj`, too, so that full names are needed.
        heads = {f"transformer.h.{n}.attn.{part}" for n in (0, 1) for part in ("c_attn", "c_proj")}

    assert set(every) == layers
    assert set(attention) == heads


@torch.no_grad()
def test_memory_of_a_token_is_known(store: Path) -> None:
    """What a replica reckons with is what keys and values take: with one head, not with all."""
    model = load_model(store / BASE, torch.float32).eval()
    cache = model(torch.arange(4, 14)[None], use_cache=True).past_key_values
    tensors = [part for layer in cache.layers for part in (layer.keys, layer.values)]
    taken = sum(part.numel() * part.element_size() for part in tensors)

    assert count_token_bytes(model) * 10 == taken
