"""A tokenizer as its files describe it, whatever class their settings name.

transformers 5 builds the tokenizer of some classes (`LlamaTokenizer`, `Qwen2Tokenizer`) from the
vocabulary alone, and chooses the class by the type of the model; where `tokenizer.json` says
otherwise, blanks get lost without a word (huggingface/transformers#45488). CodeQwen1.5 is of that
kind: pieces of SentencePiece in a model whose family is byte-level.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TOKENIZER_FILE = "tokenizer.json"
_SETTINGS_FILE = "tokenizer_config.json"
# What is done to a text on its way in and out.
_PARTS = ("normalizer", "pre_tokenizer", "decoder")
# Classes that go by `add_bos_token`, and the meaning of its absence.
_BEGIN_WITH_BOS = frozenset({"LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer"})


def load_filed_tokenizer(folder: Path) -> Any:
    """Load a tokenizer, of the class of its model where that agrees with `tokenizer.json`.

    Raises:
        OSError: A file is absent, or holds something else.
        ValueError: Likewise.
        KeyError: Likewise.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast  # noqa: PLC0415 - seconds

    tokenizer = AutoTokenizer.from_pretrained(
        str(folder), local_files_only=True, trust_remote_code=False
    )
    filed = _load_json(folder / TOKENIZER_FILE)
    if filed and _differs(tokenizer, filed):
        tokenizer = PreTrainedTokenizerFast.from_pretrained(str(folder), local_files_only=True)
    settings = _load_json(folder / _SETTINGS_FILE)
    named = str(settings.get("tokenizer_class", "")).removesuffix("Fast")
    begins = named in _BEGIN_WITH_BOS and settings.get("add_bos_token", True)
    if begins and tokenizer.bos_token_id is not None and not _adds_bos(tokenizer):
        tokenizer.add_bos_token = True
    return tokenizer


def _load_json(path: Path) -> dict[str, Any]:
    document = json.loads(path.read_bytes()) if path.is_file() else {}
    return document if isinstance(document, dict) else {}


def _differs(tokenizer: Any, filed: dict[str, Any]) -> bool:
    loaded = json.loads(tokenizer.backend_tokenizer.to_str())
    return any(loaded.get(part) != filed.get(part) for part in _PARTS)


def _adds_bos(tokenizer: Any) -> bool:
    ids: list[int] = tokenizer("a")["input_ids"]
    return ids[:1] == [tokenizer.bos_token_id]
