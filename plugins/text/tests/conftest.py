"""A small tokenizer, trained on texts that every Python has."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tokenizer_json(tmp_path_factory):
    """The path of a BPE tokenizer with <s> (0) and </s> (1) around each text."""
    tokenizers = pytest.importorskip("tokenizers")
    bytelevel, specials = tokenizers.pre_tokenizers.ByteLevel, ["<s>", "</s>"]
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = bytelevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=600,
        show_progress=False,
        special_tokens=specials,
        initial_alphabet=bytelevel.alphabet(),
    )
    names = ("abc.py", "bisect.py", "heapq.py", "textwrap.py")
    made.train([str(Path(os.__file__).with_name(name)) for name in names], trainer)
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    made.save(str(path))
    return path
