"""A training whose memory runs out, with the real allocator under a real limit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from make_train_stage import make_store, make_train_row
from tiny_models import build_tiny_tokenizer

from tunebench_api.contract import OUT_OF_MEMORY
from tunebench_jobs.train.session import SUMMARY_FILE

pytestmark = [pytest.mark.jobs, pytest.mark.timeout(600)]

SCRIPT = Path(__file__).parents[1] / "support" / "limited_session.py"
ENOUGH = 16 << 30
EXAMPLES = 64
# Wide, so that the logits of a micro-batch are nearly all that it needs: 12 bytes for each word
# and learnt token.
VOCABULARY = 40_000


@pytest.fixture(name="store", scope="module")
def fixture_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with a training set, and a base with few weights and many words."""
    from transformers import Qwen2Config, Qwen2ForCausalLM  # noqa: PLC0415 - takes seconds

    folder = tmp_path_factory.mktemp("memory")
    store = make_store(folder, [make_train_row(number, words=2) for number in range(EXAMPLES)])
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        eos_token_id=0,
        pad_token_id=3,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder / "base")
    build_tiny_tokenizer().save_pretrained(folder / "base")
    return store


@pytest.fixture(name="peak", scope="module")
def fixture_peak(store: Path) -> int:
    """Return what 64 rows take where there is enough."""
    assert train(store, "whole", limit=ENOUGH) == {"tried": [64]}
    summary = json.loads((store / "whole" / SUMMARY_FILE).read_bytes())
    assert (summary["micro_batch_size"], summary["shrunk_from"]) == (64, None)
    return int(summary["memory"]["peak_bytes"])


def train(store: Path, name: str, *, limit: int) -> dict[str, Any]:
    """Train in micro-batches of 64 with so many bytes to spare, and say what became of it."""
    tuning = {"batchSize": 64, "microBatchSize": 64, "precision": "Float32", "maxLength": 512}
    config = {
        "stage": "train",
        "data": "data/tiny",
        "base": {"base": str(store.parent / "base")},
        "tuning": tuning,
        "seed": 7,
    }
    runtime = {"store": str(store), "output": name, "report": str(store / f"{name}.json")}
    orders = store / f"{name}.orders.json"
    orders.write_text(
        json.dumps({"document": {"config": config, "runtime": runtime}, "bytes": limit})
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(SCRIPT), str(orders)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_half_the_micro_batch_ends_well(store: Path, peak: int) -> None:
    """The allocator refuses 64 rows; 32 fit, with the batch of a step as it was."""
    found = train(store, "half", limit=3 * peak // 4)
    summary = json.loads((store / "half" / SUMMARY_FILE).read_bytes())

    assert found == {"tried": [64, 32]}
    assert (summary["micro_batch_size"], summary["shrunk_from"]) == (32, 64)
    assert summary["steps"] == 1
    assert "micro-batch halved from 64 to 32" in summary["sizing"]
    assert 0 < summary["memory"]["peak_bytes"] < 3 * peak // 4


def test_what_does_not_fit_half_as_large_fails_with_advice(store: Path, peak: int) -> None:
    """It is tried twice and never again; the message has the allocator's words and the remedy."""
    found = train(store, "none", limit=peak // 4)

    assert found["tried"] == [64, 32]
    assert found["reason"] == OUT_OF_MEMORY
    assert "can't allocate memory" in found["message"]
    assert "lower `microBatchSize` (now 32) or `maxLength`" in found["message"]
    assert not (store / "none" / SUMMARY_FILE).exists()
