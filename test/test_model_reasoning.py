# SPDX-License-Identifier: Apache-2.0
"""Writing: against transformers' greedy generation token by token, drawn tokens, and endings."""

import math

import pytest
import torch
from model_samples import SMALL, observation, qwen_config, talkative_model
from transformers import Qwen3ForCausalLM

from dm0_ros.errors import Dm0Error
from dm0_ros.model.reasoning import Ending, Reasoning, Speech, Text, Writer, draw_token
from dm0_ros.model.text import choose_token, generate

NONE = frozenset()


@pytest.fixture(scope="module")
def model():
    return talkative_model()


@torch.no_grad()
def encode(model, inputs):
    return model.encode_prefix(*inputs, want_hidden=True)


@torch.no_grad()
def generate_theirs(model, inputs, tokens, stop=None):
    """The same with transformers' Qwen3, which gets pictures and text as embeddings."""
    size = model.config.llm
    theirs = Qwen3ForCausalLM(qwen_config(size, tie_word_embeddings=True)).eval()
    missing = theirs.model.load_state_dict(model.model.llm.state_dict())
    assert not missing.missing_keys and not missing.unexpected_keys
    images, there, ids, valid = inputs
    assert there.all() and valid.all()
    pictures = torch.stack([model.encode_pictures(views) for views in images])
    embedded = torch.cat((pictures.flatten(1, 2), model.model.llm.embed_tokens(ids)), 1)
    return theirs.generate(
        inputs_embeds=embedded,
        attention_mask=torch.ones(embedded.shape[:2], dtype=torch.long),
        max_new_tokens=tokens,
        do_sample=False,
        eos_token_id=stop,
        pad_token_id=0,
    )


@pytest.mark.parametrize(("views", "words"), [(1, 7), (2, 3), (3, 1)])
def test_greedy_text_is_that_of_transformers_token_by_token(model, views, words):
    inputs = observation(batch=3, views=views, text=words, seed=views)
    expected = generate_theirs(model, inputs, 40).tolist()
    texts, _ = generate(model, encode(model, inputs), Reasoning(40, NONE))
    assert [list(text.token_ids) for text in texts] == expected
    assert len({tuple(row) for row in expected}) > 1 and len(set(expected[0])) > 5


def test_it_stops_where_transformers_does(model):
    inputs = observation(batch=1, seed=1)
    free = generate_theirs(model, inputs, 30)[0].tolist()
    stop = next(token for place, token in enumerate(free) if token not in free[:place] and place)
    expected = generate_theirs(model, inputs, 30, stop)[0].tolist()
    assert expected[-1] == stop and len(expected) < 30
    (text,), cache = generate(model, encode(model, inputs), Reasoning(30, frozenset({stop})))
    assert text == Text(tuple(expected[:-1]), Ending.STOPPED)
    assert int(cache.lengths) == SMALL.vision.tokens * 2 + 7 + len(expected) - 1


def test_with_cache_is_without(model):
    images, views, ids, mask = observation(batch=1, seed=2)
    texts, _ = generate(model, encode(model, (images, views, ids, mask)), Reasoning(25, NONE))
    written = []
    for _ in range(25):
        whole = torch.cat((ids, torch.tensor([written], dtype=torch.long)), 1)
        inputs = images, views, whole, torch.ones_like(whole, dtype=torch.bool)
        hidden = encode(model, inputs).hidden[:, -1]
        written.append(int((hidden @ model.model.llm.embed_tokens.weight.T).argmax()))
    assert list(texts[0].token_ids) == written


def test_a_token_is_as_likely_as_the_softmax_has_it():
    scores = torch.tensor([2.0, 1.0, 0.5, -3.0])
    for temperature in (0.5, 1.0, 4.0):
        count = 20_000
        chance = (torch.arange(count) + 0.5) / count
        places = draw_token(scores.expand(count, 4), chance, torch.full((count,), temperature))
        found = torch.bincount(places, minlength=4) / count
        expected = torch.softmax(scores / temperature, 0)
        torch.testing.assert_close(found, expected, atol=2e-4, rtol=0)
    late = torch.tensor([math.nextafter(1.0, 0.0)])
    assert draw_token(scores[None], late, torch.ones(1)).item() == 3


def test_rare_tokens_are_never_drawn():
    logits = torch.zeros(1, 300)
    logits[0, 100:150] = 1.0
    chances = torch.linspace(0, 0.999, 40)
    drawn = {int(choose_token(logits, [float(chance)], 50.0)) for chance in chances}
    assert drawn <= set(range(100, 150)) and len(drawn) > 20


def test_a_seed_gives_one_text_and_another_seed_another(model):
    cache = encode(model, observation(batch=2))

    def draw(seed, temperature=2.0):
        generator = torch.Generator().manual_seed(seed)
        return generate(model, cache, Reasoning(20, NONE, temperature, generator))[0]

    assert draw(1) == draw(1) != draw(2)
    assert draw(1, 1e-4) == draw(2, 1e-4) == generate(model, cache, Reasoning(20, NONE))[0]


def test_a_text_ends_when_it_is_complete_and_keeps_its_last_token(model):
    cache = encode(model, observation(batch=2))
    (free, other), _ = generate(model, cache, Reasoning(12, NONE))
    last = next(token for token in free.token_ids[2:] if token not in other.token_ids)
    reasoning = Reasoning(12, NONE, complete=lambda ids: ids.count(last) == 1)
    (text, longer), read = generate(model, cache, reasoning)
    upto = free.token_ids.index(last) + 1
    assert text == Text(free.token_ids[:upto], Ending.COMPLETE)
    assert longer == other and other.ending is Ending.LIMIT
    assert (read.lengths - cache.lengths).tolist() == [upto, 12]


def test_a_text_as_long_as_its_limit_may_still_come_to_its_end(model):
    cache = encode(model, observation(batch=1, seed=1))
    free = generate(model, cache, Reasoning(20, NONE))[0][0].token_ids
    place = next(n for n in range(3, 20) if free[n] not in free[:n])
    stop = frozenset({free[place]})
    whole = generate(model, cache, Reasoning(place, stop))[0][0]
    assert whole == Text(free[:place], Ending.STOPPED) and whole.ending.whole
    cut = generate(model, cache, Reasoning(place - 1, stop))[0][0]
    assert cut == Text(free[: place - 1], Ending.LIMIT) and not cut.ending.whole


def test_time_that_is_over_cuts_every_text_and_waiting_costs_none():
    now = [0.0]

    def proceed():
        now[0] += 100.0  # somebody else's work
        return True

    reasoning = Reasoning(10, frozenset({9}), seconds=2.5, proceed=proceed)
    writer, count = Writer(reasoning, 2, clock=lambda: now[0]), 0
    while writer.goes_on():
        writer.take([1, 9])
        now[0] += 1.0
        count += 1
    assert count == 3
    assert writer.texts() == [Text((1, 1, 1), Ending.TIME), Text((), Ending.STOPPED)]


def test_no_time_is_no_text(model):
    cache = encode(model, observation(batch=1))
    texts, same = generate(model, cache, Reasoning(5, NONE, seconds=0.0))
    assert texts == [Text((), Ending.TIME)] and same is cache


def test_a_text_that_is_not_wanted_any_more_is_abandoned(model):
    left = iter([True, True, False])
    reasoning = Reasoning(10, NONE, proceed=lambda: next(left))
    (text,), _ = generate(model, encode(model, observation(batch=1)), reasoning)
    assert text.ending is Ending.ABANDONED and len(text.token_ids) == 2


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"limit": -1}, "limit of a text is -1"),
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"temperature": 1.0}, "give a seeded generator"),
        ({"seconds": -1.0}, "time for a text is -1"),
        ({"seconds": math.nan}, "time for a text is nan"),
    ],
)
def test_numbers_that_make_no_sense_are_named(settings, words):
    with pytest.raises(Dm0Error, match=words):
        Reasoning(**{"limit": 3, "stop_ids": NONE, **settings})


def test_the_likeliest_is_taken_unless_a_temperature_is_given():
    assert Writer(Reasoning(1, NONE), 1).draw() == (None, 0.0)
    drawing = Writer(Reasoning(1, NONE, 0.7, torch.Generator().manual_seed(0)), 3)
    chances, temperature = drawing.draw()
    assert drawing.speech is Speech.DRAWN and temperature == 0.7
    assert len(chances) == 3 and all(0 <= chance < 1 for chance in chances)
