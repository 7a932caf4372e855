# SPDX-License-Identifier: Apache-2.0
"""Recorded frames as batches of text and actions."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hybrid_samples import TEACHING, tiny_recipe, tiny_recording

from dm0_ros.policy.prompt import CUE, STOP
from dm0_ros.policy.tokenizer import load_tokenizer
from dm0_ros.scaffold.bins import from_bins
from dm0_ros.scaffold.content import Scaffold
from dm0_ros.scaffold.grammar import load_grammar
from dm0_ros.training.hybrid_data import HybridDataset
from dm0_ros.training.vocabulary import save_tokenizer, train_tokenizer


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Recipe, recording, tokenizer and statistics."""
    folder, recipe = tmp_path_factory.mktemp("tokenizer"), tiny_recipe()
    recording = tiny_recording(recipe)
    dataset = HybridDataset(recipe, recording)
    stats = dataset.stats()
    save_tokenizer(train_tokenizer(dataset.sentences(), 600, dataset.answers(stats)), folder)
    return recipe, recording, load_tokenizer(folder), stats


def draw(parts, size=4, seed=0, share=slice(None), **teaching):
    recipe, recording, tokenizer, stats = parts
    recipe = replace(recipe, hybrid=replace(TEACHING, **teaching))
    dataset = HybridDataset(recipe, recording)
    return dataset.draw(np.random.default_rng(seed), size, tokenizer, stats, share)


def spoken(parts, batch, row):
    """The answer in a sample's tokens, learnt or old, and how much of it the expert sees."""
    tokenizer = parts[2]
    ids = batch.token_ids[row, batch.token_mask[row]].tolist()
    answer = tokenizer.decode(ids[int(batch.prompts[row]) :])
    seen = tokenizer.decode(ids[int(batch.prompts[row]) : int(batch.shown[row])])
    return answer, seen


def test_fresh_answers_are_those_of_their_frame(parts):
    recipe, recording, _, _ = parts
    batch = draw(parts, stale=0.0)
    assert batch.acted.all() and batch.learnt.any(1).all()
    grammar = load_grammar("nano")
    for row in range(len(batch.token_ids)):
        answer, _ = spoken(parts, batch, row)
        assert answer.startswith(CUE) and answer.endswith(STOP)
        scaffold = grammar.parse(answer[len(CUE) : -len(STOP)])
        assert isinstance(scaffold, Scaffold), scaffold
        # the discrete actions are those of the sample's own plan
        columns, (told,) = len(scaffold.actions), recipe.scaffold.action_rows
        assert columns == 8
        wanted = batch.actions[row, told].clamp(-1, 1)
        np.testing.assert_allclose(from_bins(scaffold.actions), wanted, atol=1 / 254 + 1e-6)
        frame = next(
            number
            for number, boxes in enumerate(recording.annotations["boxes"])
            if np.abs(boxes[row % 3] / 336 * 1000 - scaffold.box).max() < 0.51
        )
        image = torch.from_numpy(recording.pictures[frame]).permute(0, 3, 1, 2) / 127.5 - 1
        assert torch.allclose(batch.images[row // 3], image, atol=1e-6)


def test_the_expert_sees_as_much_as_was_drawn(parts):
    batch = draw(parts, size=200, stale=0.0)
    seen = [spoken(parts, batch, row)[1] for row in range(600)]
    lines = [text.count("\n") for text in seen]
    assert all(text.startswith(CUE) if text else True for text in seen)
    shares = [lines.count(count) / 600 for count in range(5)]
    # none, subtask, box and action are as likely, trajectory is not asked for
    assert shares[3] == 0
    np.testing.assert_allclose([shares[n] for n in (0, 1, 2, 4)], 0.25, atol=0.07)
    assert [text for text, count in zip(seen, lines, strict=True) if count == 0] == [""] * (
        lines.count(0)
    )


def test_without_weights_the_expert_sees_all(parts):
    batch = draw(parts, shown={}, stale=0.0)
    stop = batch.learnt.any(1).long()
    assert torch.equal(batch.shown, batch.token_mask.sum(1) - stop)


def test_old_texts_are_of_an_earlier_frame_of_the_episode_and_not_learnt(parts):
    recording = parts[1]
    batch = draw(parts, size=60, stale=1.0)
    fresh = draw(parts, size=60, stale=0.0)
    assert torch.equal(batch.images, fresh.images)
    assert torch.equal(batch.actions, fresh.actions)
    random = np.random.default_rng(0)
    frames = np.sort(random.integers(25, size=60))  # one episode of six is held out
    grammar = load_grammar("nano")
    ages = []
    for row in range(180):
        answer, _ = spoken(parts, batch, row)
        text = answer[len(CUE) :].removesuffix(STOP)
        scaffold = grammar.parse(text)
        frame = next(
            number
            for number, boxes in enumerate(recording.annotations["boxes"])
            if np.abs(boxes[row % 3] / 336 * 1000 - scaffold.box).max() < 0.51
        )
        ages.append(frames[row // 3] - frame)
        assert frame // 5 == frames[row // 3] // 5
        assert batch.learnt[row].any() == (ages[-1] == 0) == answer.endswith(STOP)
    first = frames.repeat(3) % 5 == 0
    assert not np.array(ages)[first].any()
    assert set(np.array(ages)[~first]) == {1, 2}


def test_shares_make_up_the_whole(parts):
    whole = draw(parts, seed=3)
    halves = [draw(parts, seed=3, share=slice(first, 4, 2)) for first in (0, 1)]
    for name in ("images", "image_masks", "prompts", "shown", "actions", "acted"):
        both = getattr(whole, name).unflatten(0, (2, 2, -1))  # samples of every other frame
        for first, half in enumerate(halves):
            assert torch.equal(getattr(half, name), both[:, first].flatten(0, 1)), name
    for half, rows in zip(halves, ((0, 1, 2, 6, 7, 8), (3, 4, 5, 9, 10, 11)), strict=True):
        for row, index in enumerate(rows):
            assert spoken(parts, half, row) == spoken(parts, whole, index)


def test_a_recipe_without_scaffold_teaches_actions_alone(parts):
    recipe, recording, tokenizer, stats = parts
    plain = replace(recipe, scaffold=None, hybrid=replace(TEACHING, shown={}))
    dataset = HybridDataset(plain, replace(recording, annotations={}))
    batch = dataset.draw(np.random.default_rng(0), 3, tokenizer, stats)
    assert batch.acted.all() and not batch.learnt.any()
    assert torch.equal(batch.shown, batch.prompts)
    assert torch.equal(batch.prompts, batch.token_mask.sum(1))
