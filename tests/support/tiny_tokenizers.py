"""Tiny tokenizers, one for each style among the models of the benchmark.

Each is written as the files of the real one are: with its normalizer, its decoder, what it puts in
front of a text, and the class that its `tokenizer_config.json` names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tiny_models import CHAT_TEMPLATE, CORPUS

_VOCABULARY = 512
_SPACE = "▁"
# As Mistral's and Code Llama's instruct templates: turns in brackets, no place for a system text.
_BRACKETS_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}[INST] {{ message['content'] }} [/INST]"
    "{% elif message['role'] == 'assistant' %} {{ message['content'] }}{{ eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}"
    "{% endif %}{% endfor %}"
)
# As Llama 3's: headers, an end of turn of its own, and BOS in the template.
_HEADERS_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message['role'] }}"
    "<|end_header_id|>\n\n{{ message['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
# As DeepSeek Coder's: words for turns, BOS in front, and an end of turn that is the end of text.
_WORDS_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] }}\n"
    "{% elif message['role'] == 'user' %}### Instruction:\n{{ message['content'] }}\n"
    "{% else %}### Response:\n{{ message['content'] }}\n{{ eos_token }}\n"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}### Response:\n{% endif %}"
)
# As Granite's: words for turns, and nothing in front.
_QUESTION_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}System:\n{{ message['content'] }}\n\n"
    "{% elif message['role'] == 'user' %}Question:\n{{ message['content'] }}\n\n"
    "{% else %}Answer:\n{{ message['content'] }}{{ eos_token }}\n\n"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}Answer:\n{% endif %}"
)


def save_tokenizer(style: str, folder: Path) -> int:
    """Write the files of a style's tokenizer, and return the size of its vocabulary."""
    return STYLES[style](folder)


def _save_bytes(
    folder: Path, special: tuple[str, ...], config: Mapping[str, Any], *, bos: str | None = None
) -> int:
    """Write byte-level BPE, as GPT-2 began it; `bos` is put in front of every text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors  # noqa: PLC0415

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    _train(tokenizer, special, alphabet=pre_tokenizers.ByteLevel.alphabet())
    if bos is not None:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))]
        )
    return _save(tokenizer, folder, config)


def _save_pieces(folder: Path, config: Mapping[str, Any], *, prefix: bool, bos: bool = True) -> int:
    """Write what SentencePiece becomes: blanks are marked, unknown characters become bytes.

    `prefix` is the blank that stands in front of a text, and that decoding takes off.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, processors  # noqa: PLC0415

    special = ("<unk>", "<s>", "</s>")
    octets = [f"<0x{number:02X}>" for number in range(256)]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))  # noqa: S106
    marks = [normalizers.Replace(" ", _SPACE)]
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend(_SPACE), *marks] if prefix else marks
    )
    back = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*back, decoders.Strip(" ", 1, 0)] if prefix else back)
    _train(tokenizer, (*special, *octets), alphabet=[])
    document = json.loads(tokenizer.to_str())
    # Octets are tokens of text, not special ones.
    document["added_tokens"] = document["added_tokens"][: len(special)]
    tokenizer = Tokenizer.from_str(json.dumps(document))
    names = {"unk_token": "<unk>", "eos_token": "</s>"}
    if bos:
        names |= {"bos_token": "<s>"}
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
        )
    return _save(tokenizer, folder, {**names, **config})


def _train(tokenizer: Any, special: tuple[str, ...], *, alphabet: list[str]) -> None:
    from tokenizers import trainers  # noqa: PLC0415 - not for every test

    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=list(special),
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)


def _save(tokenizer: Any, folder: Path, config: Mapping[str, Any]) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    text = json.dumps({"clean_up_tokenization_spaces": False, **config})
    (folder / "tokenizer_config.json").write_text(text)
    size: int = tokenizer.get_vocab_size()
    return size


_DEEPSEEK = {
    "tokenizer_class": "LlamaTokenizerFast",
    "bos_token": "<begin>",
    "eos_token": "<end>",
    "add_bos_token": True,
}

STYLES: Mapping[str, Callable[[Path], int]] = MappingProxyType(
    {
        # Qwen1.5: byte-level, no BOS, its own template and a pad token.
        "bytes-chatml": lambda folder: _save_bytes(
            folder,
            ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
            {
                "tokenizer_class": "Qwen2Tokenizer",
                "eos_token": "<|endoftext|>",
                "pad_token": "<|endoftext|>",
                "chat_template": CHAT_TEMPLATE,
            },
        ),
        # Granite: GPT-2's, whose one special token begins, ends and stands for the unknown.
        "bytes-one-special": lambda folder: _save_bytes(
            folder,
            ("<|endoftext|>",),
            {
                "tokenizer_class": "GPT2Tokenizer",
                "bos_token": "<|endoftext|>",
                "eos_token": "<|endoftext|>",
                "unk_token": "<|endoftext|>",
                "chat_template": _QUESTION_TEMPLATE,
            },
        ),
        # Llama 3: byte-level with BOS, headers, no pad token.
        "bytes-headers": lambda folder: _save_bytes(
            folder,
            ("<|begin|>", "<|end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "bos_token": "<|begin|>",
                "eos_token": "<|eot_id|>",
                "chat_template": _HEADERS_TEMPLATE,
            },
            bos="<|begin|>",
        ),
        # DeepSeek Coder: byte-level under the name of Llama's class, BOS by its settings alone.
        "bytes-named-llama": lambda folder: _save_bytes(
            folder, ("<begin>", "<end>"), {**_DEEPSEEK, "chat_template": _WORDS_TEMPLATE}
        ),
        "bytes-named-llama-base": lambda folder: _save_bytes(
            folder, ("<begin>", "<end>"), _DEEPSEEK
        ),
        # Code Llama and Phind: SentencePiece, no pad token, no template.
        "pieces-base": lambda folder: _save_pieces(
            folder, {"tokenizer_class": "LlamaTokenizer"}, prefix=True
        ),
        # Codestral: the same with a template that refuses a system text.
        "pieces-brackets": lambda folder: _save_pieces(
            folder,
            {"tokenizer_class": "LlamaTokenizer", "chat_template": _BRACKETS_TEMPLATE},
            prefix=True,
        ),
        # Gemma: SentencePiece with nothing in front, its own class, a pad token.
        "pieces-no-prefix": lambda folder: _save_pieces(
            folder, {"tokenizer_class": "GemmaTokenizer", "pad_token": "</s>"}, prefix=False
        ),
        # CodeQwen: SentencePiece in a model whose family is byte-level.
        "pieces-chatml": lambda folder: _save_pieces(
            folder,
            {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": CHAT_TEMPLATE},
            prefix=True,
            bos=False,
        ),
    }
)
