# SPDX-License-Identifier: Apache-2.0
"""Texts as tokenizers see them: levels end between tokens, digits and bins are one token each."""

import numpy as np
import pytest
from scaffold_samples import GRAMMARS, draw_scaffold
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers, trainers

from dm0_ros.scaffold.content import BINS
from dm0_ros.scaffold.levels import Level

# As in Qwen's tokenizer, a sign takes the line breaks behind it along, and digits stand alone.
SIGNS_AND_BREAKS = r"\p{N}| ?\p{L}+|[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s"
SPLITS = {
    "plain": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "signs and breaks": pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SIGNS_AND_BREAKS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    ),
}


def train(split, texts):
    """A byte-level tokenizer that merged what these texts repeat, but for numbers."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = SPLITS[split]
    trainer = trainers.BpeTrainer(
        vocab_size=1000,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(["".join(c for c in t if not c.isdigit()) for t in texts], trainer)
    raw.add_special_tokens([AddedToken(f"<action_{b}>", normalized=False) for b in range(BINS)])
    return lambda text: raw.encode(text, add_special_tokens=False).tokens


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", GRAMMARS)
def test_a_level_ends_where_a_token_ends(name, split):
    grammar, random = GRAMMARS[name], np.random.default_rng(1)
    scaffolds = [draw_scaffold(random) for _ in range(50)]
    texts = [grammar.write(scaffold, Level) for scaffold in scaffolds]
    encode = train(split, texts)
    for scaffold, text in zip(scaffolds, texts, strict=True):
        tokens = encode(text)
        for level in Level:
            cut = encode(grammar.truncate(text, level))
            assert tokens[: len(cut)] == cut
        bins = [token for token in tokens if token.startswith("<action_")]
        assert bins == [f"<action_{b}>" for b in scaffold.actions]
        assert all(len(t) == 1 for t in tokens if t not in bins and any(map(str.isdigit, t)))
