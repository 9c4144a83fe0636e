"""Tiny models with tokenizers trained on the spot, in well under a second once torch is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# As some families do: no place for a system message.
NO_SYSTEM_TEMPLATE = (
    "{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}" + CHAT_TEMPLATE
)
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>")
CORPUS = (
    "system user assistant Describe the pull request as YAML.",
    "type:\n- Bug fix\ndescription: |\n  Fix the off-by-one error in the pager.\n```",
    "title: |\n  Add retries to the client\npr_files:\n- filename: |\n    src/client.py\n",
    "review:\n  estimated_effort_to_review: |\n    2\n  relevant_tests: |\n    No\n",
    "def add(a, b):\n    return a + b\n@@ -1,4 +1,6 @@\n-old line\n+new line\n",
)


def build_tiny_tokenizer(chat_template: str | None = CHAT_TEMPLATE) -> Any:
    """Train a byte-level BPE tokenizer on a few sentences."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: PLC0415
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415 - takes seconds to import

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|endoftext|>",  # noqa: S106 - a token of text, no credential
        pad_token="<|pad|>",  # noqa: S106 - likewise
        chat_template=chat_template,
    )


def build_tiny_model(vocabulary: int, *, seed: int = 0, hidden: int = 64) -> Any:
    """Build a two-layer Qwen2 with random weights and tied embeddings."""
    import torch  # noqa: PLC0415 - takes seconds to import
    from transformers import Qwen2Config, Qwen2ForCausalLM  # noqa: PLC0415 - likewise

    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=3,
        attention_dropout=0.0,
    )
    return Qwen2ForCausalLM(config)


def save_tiny_model(
    folder: Path, *, chat_template: str | None = CHAT_TEMPLATE, seed: int = 0, hidden: int = 64
) -> Path:
    """Write a tiny model with its tokenizer as a base model folder, and return the folder."""
    tokenizer = build_tiny_tokenizer(chat_template)
    tokenizer.save_pretrained(folder)
    build_tiny_model(len(tokenizer), seed=seed, hidden=hidden).save_pretrained(folder)
    return folder
