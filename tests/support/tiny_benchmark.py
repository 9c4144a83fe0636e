"""A stand-in for each kind of model in the benchmark, taken from its base to an endpoint.

Nothing of Ray runs here: what workers and replicas do is called as they call it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from make_train_stage import make_train_row
from tiny_architectures import build_architecture
from tiny_tokenizers import save_tokenizer

from tunebench_api.contract import (
    Base,
    Quantization,
    Runtime,
    ServeConfig,
    ServedVariant,
    TrainConfig,
)
from tunebench_api.v1alpha1 import TuningMethod, TuningSpec
from tunebench_jobs.context import StageContext
from tunebench_jobs.models import load_tokenizer
from tunebench_jobs.serve.deployment import load_service
from tunebench_jobs.serve.service import ChatService
from tunebench_jobs.serve.stage import build_model
from tunebench_jobs.train.loop import Hooks
from tunebench_jobs.train.place import Place
from tunebench_jobs.train.session import run_session


@dataclass(frozen=True)
class StandIn:
    """What a tiny model has in common with models of the benchmark."""

    architecture: str
    tokenizer: str


# The models that each stands for are in docs/models.md.
STAND_INS: Mapping[str, StandIn] = MappingProxyType(
    {
        "deepseek-33b-base": StandIn("llama-gqa-linear-rope", "bytes-named-llama-base"),
        "deepseek-33b-instruct": StandIn("llama-gqa-linear-rope", "bytes-named-llama"),
        "deepseek-7b-instruct": StandIn("llama", "bytes-named-llama"),
        "codellama-7b": StandIn("llama", "pieces-base"),
        "phind-34b": StandIn("llama-gqa", "pieces-base"),
        "granite-8b-instruct": StandIn("llama-gqa-bias", "bytes-one-special"),
        "granite-34b-instruct": StandIn("gpt-bigcode", "bytes-one-special"),
        "llama-3-8b-instruct": StandIn("llama-gqa", "bytes-headers"),
        "llama-3.1-8b-instruct": StandIn("llama3-rope", "bytes-headers"),
        "mistral-7b": StandIn("mistral-window", "pieces-base"),
        "codestral-22b": StandIn("mistral", "pieces-brackets"),
        "qwen1.5-32b": StandIn("qwen2-gqa", "bytes-chatml"),
        "codeqwen1.5-7b": StandIn("qwen2-gqa", "pieces-chatml"),
        "gemma-7b": StandIn("gemma", "pieces-no-prefix"),
    }
)
TUNING = MappingProxyType(
    {
        "batchSize": 4,
        "microBatchSize": 2,
        "epochs": 3,
        "learningRate": "2e-2",
        "precision": "Float32",
        "lora": {"rank": 4, "alpha": 8},
    }
)
BASE, DATA = "base", "data"
_ROWS = 8
_LIVELY = 8.0


def save_stand_in(name: str, store: Path) -> Path:
    """Write a stand-in as a base model folder into a store with training data."""
    folder = store / BASE
    stand_in = STAND_INS[name]
    vocabulary = save_tokenizer(stand_in.tokenizer, folder)
    model = build_architecture(stand_in.architecture, vocabulary)
    _enliven(model)
    model.save_pretrained(folder)
    tokenizer = load_tokenizer(folder)
    for config in (model.config, model.generation_config):
        config.bos_token_id = tokenizer.bos_token_id
        config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    (store / DATA).mkdir()
    rows = [make_train_row(number) for number in range(_ROWS)]
    pq.write_table(pa.Table.from_pylist(rows), store / DATA / "train.parquet")
    return folder


def _enliven(model: Any) -> None:
    """Let what blocks compute outweigh the token at hand, which tied weights would repeat."""
    ends = {
        id(part.weight) for part in (model.get_input_embeddings(), model.get_output_embeddings())
    }
    for weight in model.parameters():
        if weight.dim() > 1 and id(weight) not in ends:
            weight.data.mul_(_LIVELY)


def train(store: Path, method: TuningMethod, **tuning: Any) -> Path:
    """Do what a training worker does, and return the folder of the checkpoint."""
    config = TrainConfig(
        data=DATA,
        base=Base(base=str(store / BASE)),
        tuning=TuningSpec.from_wire({**TUNING, "method": method, **tuning}),
        seed=7,
    )
    context = _build_context(store, str(method))
    hooks = Hooks(on_step=lambda *_: None, on_resume_point=lambda *_: None)
    run_session(config, context, Place(0, 1, torch.device("cpu")), hooks)
    return context.output / "checkpoint"


def serve(store: Path, method: TuningMethod) -> ChatService:
    """Do what a replica does for a checkpoint, beside its base where it has adapters."""
    variants = [ServedVariant(name="tuned", checkpoint=str(method))]
    if method is not TuningMethod.FULL:
        variants.insert(0, ServedVariant(name="untuned"))
    quantization = Quantization.NF4 if method is TuningMethod.QLORA else None
    config = ServeConfig(
        base=Base(base=str(store / BASE), quantization=quantization),
        variants=tuple(variants),
        batch_size=4,
        seed=1,
    )
    return load_service(build_model(config, _build_context(store, "serve")))


def _build_context(store: Path, output: str) -> StageContext:
    (store / output).mkdir(exist_ok=True)
    report = str(store / f"{output}.report.json")
    return StageContext(Runtime(store=str(store), output=output, report=report, cpus=1))


def build_conversations() -> Sequence[list[dict[str, str]]]:
    """Return prompts of different lengths, some with what tokenizers treat in ways of their own."""
    system = {"role": "system", "content": "Describe the pull request as YAML."}
    texts = (
        "+new line\n" * 13 + "```yaml",
        "  def add(a,  b):\n\treturn a + b  # 日本 ñ\n```yaml",
        "+new line\n" * 40 + "```yaml",
    )
    return [[system, {"role": "user", "content": text}] for text in texts]
