# SPDX-License-Identifier: Apache-2.0
"""A tokenizer small enough to be written by a test."""


def write_tokenizer(folder, words=()):
    """A tokenizer with one token per byte, and one for each of some words."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator([], trainer)
    raw.add_tokens([AddedToken(word, normalized=False) for word in words])
    raw.save(str(folder / "tokenizer.json"))
