# SPDX-License-Identifier: Apache-2.0
"""A tokenizer small enough to be written by a test."""


def write_tokenizer(folder):
    """A tokenizer with one token per byte."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator([], trainer)
    raw.save(str(folder / "tokenizer.json"))
