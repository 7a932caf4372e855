# SPDX-License-Identifier: Apache-2.0
"""Text that is read on or generated is the same as text that was in the prompt from the start."""

import pytest
import torch
from model_samples import SMALL, chunk, observation, small_model, talkative_model

from dm0_ros.errors import ObservationError
from dm0_ros.model.reasoning import Reasoning
from dm0_ros.model.text import generate, predict_token, read_on

CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def model():
    return talkative_model()


@pytest.fixture(scope="module")
def ragged():
    """Three observations: two views and 7 words, one view and 7 words, two views and 3 words."""
    images, views, ids, mask = observation(batch=3)
    views[1, 0] = False
    mask[2, 3:] = False
    return images, views, ids, mask


@torch.no_grad()
def encode(model, inputs):
    return model.encode_prefix(*inputs, want_hidden=True)


def lengthen(inputs, texts):
    """The observations with these tokens behind their texts."""
    images, views, ids, mask = inputs
    longest = max(len(text) for text in texts)
    more = torch.zeros(len(ids), longest, dtype=torch.long)
    there = torch.zeros(len(ids), longest, dtype=torch.bool)
    for row, text in enumerate(texts):
        more[row, : len(text)] = torch.tensor(text, dtype=torch.long)
        there[row, : len(text)] = True
    return images, views, torch.cat((ids, more), 1), torch.cat((mask, there), 1)


def one_of(inputs, index):
    return tuple(part[index : index + 1] for part in inputs)


def write(model, cache, limit, stops=(), **how):
    """Token ids of each observation, and the cache that holds them."""
    texts, longer = generate(model, cache, Reasoning(limit, frozenset(stops), **how))
    return [list(text.token_ids) for text in texts], longer


def check_equal(found, expected):
    """Two caches agree wherever a token is; what lies in padding is of no consequence."""
    assert torch.equal(found.lengths, expected.lengths)
    torch.testing.assert_close(found.rope, expected.rope, **CLOSE)
    assert (found.mask is None) == (expected.mask is None)
    assert found.mask is None or torch.equal(found.mask, expected.mask)
    for row, length in enumerate(found.lengths.tolist()):
        for mine, theirs in zip(found.layers, expected.layers, strict=True):
            for one, other in zip(mine, theirs, strict=True):
                assert one.shape == other.shape
                torch.testing.assert_close(one[row, :, :length], other[row, :, :length], **CLOSE)
        hidden = found.hidden[row, :length], expected.hidden[row, :length]
        torch.testing.assert_close(*hidden, **CLOSE)


@pytest.mark.parametrize("portions", [[4], [1, 1, 1, 1], [2, 2]])
def test_reading_on_is_reading_at_once(model, ragged, portions):
    words = torch.randint(1, 40, (3, 4), generator=torch.Generator().manual_seed(1))
    cache = encode(model, ragged)
    for part in words.split(portions, 1):
        cache = read_on(model, cache, part)
    check_equal(cache, encode(model, lengthen(ragged, words.tolist())))


def test_observations_may_read_on_by_different_counts(model, ragged):
    words = torch.randint(1, 40, (3, 4), generator=torch.Generator().manual_seed(1))
    counts = torch.tensor([0, 4, 2])
    found = read_on(model, encode(model, ragged), words, counts)
    texts = [row[:count] for row, count in zip(words.tolist(), counts, strict=True)]
    check_equal(found, encode(model, lengthen(ragged, texts)))


def test_the_given_cache_stays_as_it_was(model, ragged):
    cache = encode(model, ragged)
    read_on(model, cache, torch.ones(3, 2, dtype=torch.long))
    write(model, cache, 3, ())
    check_equal(cache, encode(model, ragged))


def test_each_token_is_the_likeliest_after_all_before_it(model, ragged):
    texts, cache = write(model, encode(model, ragged), 6, ())
    assert [len(text) for text in texts] == [6, 6, 6]
    assert len({tuple(text) for text in texts}) == 3  # they do depend on the observation
    for place in range(6):
        before = encode(model, lengthen(ragged, [text[:place] for text in texts]))
        # without the cache of the steps before: the head on the last valid token, and only there
        last = torch.stack([before.hidden[row, n - 1] for row, n in enumerate(before.lengths)])
        logits = last @ model.model.llm.embed_tokens.weight.T
        assert logits.argmax(-1).tolist() == [text[place] for text in texts]
    check_equal(cache, encode(model, lengthen(ragged, texts)))


def test_a_batch_writes_what_its_observations_write_alone(model, ragged):
    texts, cache = write(model, encode(model, ragged), 5, ())
    noise = chunk(batch=3)
    actions = model.integrate(cache, noise, steps=3)
    for row in range(3):
        alone, own = write(model, encode(model, one_of(ragged, row)), 5, ())
        assert alone == [texts[row]]
        single = model.integrate(own, noise[row : row + 1], steps=3)
        torch.testing.assert_close(actions[row : row + 1], single, **CLOSE)


def test_actions_see_the_text(model, ragged):
    noise, cache = chunk(batch=3), encode(model, ragged)
    texts, longer = write(model, cache, 4, ())
    actions = model.integrate(longer, noise)
    expected = model.sample_actions(*lengthen(ragged, texts), noise=noise)
    torch.testing.assert_close(actions, expected, **CLOSE)
    assert (actions - model.integrate(cache, noise)).abs().max() > 1e-3


def test_a_stop_token_ends_one_text_and_not_the_others(model, ragged):
    free, _ = write(model, encode(model, ragged), 6, ())
    stop = next(token for token in free[0] if token not in free[1])
    texts, cache = write(model, encode(model, ragged), 6, {stop})
    expected = [text[: text.index(stop)] if stop in text else text for text in free]
    assert texts == expected and len(texts[0]) < 6 == len(texts[1])
    check_equal(cache, encode(model, lengthen(ragged, texts)))


def test_text_may_be_empty(model, ragged):
    cache = encode(model, ragged)
    firsts = predict_token(model, cache).argmax(-1).tolist()
    for limit, stops in ((0, ()), (5, firsts)):
        texts, same = write(model, cache, limit, stops)
        assert texts == [[], [], []]
        check_equal(same, cache)


def test_the_text_follows_the_picture(model, ragged):
    images, *rest = ragged
    texts, others = (
        write(model, encode(model, (pictures, *rest)), 6, ())[0] for pictures in (images, -images)
    )
    assert all(text != other for text, other in zip(texts, others, strict=True))


def test_logits_of_bfloat16_matrices_are_float32(ragged):
    model = small_model().bfloat16()
    cache = encode(model, ragged)
    assert cache.hidden.dtype == torch.bfloat16
    logits = predict_token(model, cache)
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, logits.bfloat16().float())


def test_text_needs_hidden_states(model):
    with torch.no_grad():
        cache = model.encode_prefix(*observation())
    with pytest.raises(ValueError, match="want_hidden"):
        write(model, cache, 1, ())
    # Reading on needs none, and has none to give.
    assert read_on(model, cache, torch.ones(2, 1, dtype=torch.long)).hidden is None


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (torch.ones(3, 1, dtype=torch.long), "token_ids have shape"),
        (torch.ones(2, dtype=torch.long), "token_ids have shape"),
        (torch.full((2, 1), SMALL.llm.vocab_size), "0 to 39"),
        (torch.full((2, 1), -1), "0 to 39"),
    ],
)
def test_tokens_that_do_not_fit_are_refused(model, ids, words):
    with pytest.raises(ObservationError, match=words):
        read_on(model, encode(model, observation()), ids)
