"""A CLIP tokenizer whose byte-pair merges make one token of each word of the training captions."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from .objects import NAMES, TEMPLATES

START, END = "<|startoftext|>", "<|endoftext|>"


def train(folder: Path) -> None:
    """Write vocab.json, merges.txt and the two configs that `transformers.CLIPTokenizer` loads."""
    words = sorted({w for text in (*NAMES, *TEMPLATES) for w in text.replace("{}", "").split()})
    model = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    model.pre_tokenizer = pre_tokenizers.Whitespace()
    model.train_from_iterator(
        words, trainers.BpeTrainer(vocab_size=10_000, end_of_word_suffix="</w>", min_frequency=1, show_progress=False)
    )
    merges = [tuple(m) for m in json.loads(model.to_str())["model"]["merges"]]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, *(c + "</w>" for c in alphabet)]
    tokens += [t for t in dict.fromkeys(a + b for a, b in merges) if t not in set(tokens)]
    tokens += [START, END]
    folder.mkdir(parents=True, exist_ok=True)
    vocab = {t: i for i, t in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False))
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=1))
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1))
