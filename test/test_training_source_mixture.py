# SPDX-License-Identifier: Apache-2.0
"""Draws of a mixture and their loader: shares, the same whoever makes them, broken episodes."""

import numpy as np
import pytest
from source_samples import MadeUpSource

from dm0_ros.training.sources.loader import Loader, LoaderSettings
from dm0_ros.training.sources.mixture import Mixture
from dm0_ros.training.sources.sample import BrokenEpisodeError, SourceError


def make_mixture(**changes):
    small = MadeUpSource("small", [5, 5], **changes)
    return Mixture([small, MadeUpSource("large", [10, 700, 290], weight=2.0)], seed=3)


def names(samples):
    return [sample.instruction for sample in samples]


def summarise(draw):
    """What a batch is made of here: names, pictures, and what is left to chance."""
    return (
        names(draw.samples),
        np.stack([sample.pictures["high"] for sample in draw.samples]),
        [generator.random() for generator in draw.generators],
    )


def test_shares_follow_sizes_and_weights():
    mixture = make_mixture()
    assert mixture.sizes == [10, 1000]
    powers = np.array([10**0.43, 2.0 * 1000**0.43])
    np.testing.assert_allclose(mixture.shares, powers / powers.sum())


def test_what_is_drawn_agrees_with_the_shares_and_is_even_within_a_source():
    mixture = make_mixture()
    places = [place for step in range(400) for place in mixture.places(step, 10)]
    drawn = np.bincount([place.source for place in places]) / len(places)
    deviation = np.sqrt(mixture.shares.prod() / len(places))
    assert abs(drawn - mixture.shares).max() < 4 * deviation
    large = [place for place in places if place.source == 1]
    episodes = np.bincount([place.episode for place in large], minlength=3) / len(large)
    np.testing.assert_allclose(episodes, [0.01, 0.7, 0.29], atol=0.04)
    small = {(place.episode, place.index) for place in places if place.source == 0}
    assert small == {(episode, index) for episode in range(2) for index in range(5)}


def test_a_step_draws_the_same_whenever_it_is_asked():
    first, again = make_mixture(), make_mixture()
    for _ in range(3):
        first.draw(0, 8)
    assert names(first.draw(7, 8).samples) == names(again.draw(7, 8).samples)
    assert names(first.draw(7, 8).samples) != names(first.draw(8, 8).samples)
    other = Mixture(first.sources, seed=4)
    assert names(first.draw(7, 8).samples) != names(other.draw(7, 8).samples)


def test_ranks_share_a_step():
    mixture = make_mixture()
    whole = names(mixture.draw(5, 7).samples)
    parts = [names(mixture.draw(5, 7, range(rank, 7, 2)).samples) for rank in range(2)]
    assert parts == [whole[0::2], whole[1::2]]


@pytest.mark.parametrize("start", [0, 3])
def test_the_number_of_workers_changes_nothing(start):
    batches = {}
    for workers in (0, 1, 3):
        loader = Loader(make_mixture(), summarise, LoaderSettings(batch=6, workers=workers))
        batches[workers] = list(loader.run(start, 9))
    assert len(batches[0]) == 9 - start
    for workers in (1, 3):
        for (texts, pictures, chance), expected in zip(batches[workers], batches[0], strict=True):
            assert texts == expected[0] and chance == expected[2]
            np.testing.assert_array_equal(pictures, expected[1])


def test_a_loader_gives_each_rank_its_share():
    settings = LoaderSettings(batch=6, rank=1, ranks=2)
    ((texts, *_),) = Loader(make_mixture(), summarise, settings).run(4, 5)
    assert texts == names(make_mixture().draw(4, 6).samples)[1::2]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_episode_stops_unless_it_may_be_skipped(workers):
    settings = LoaderSettings(batch=6, workers=workers)
    mixture = make_mixture(broken=(1,))
    with pytest.raises(BrokenEpisodeError, match=r"^small episode 1: made to be broken$"):
        list(Loader(mixture, summarise, settings).run(0, 20))


def test_skipped_episodes_are_counted_said_and_the_same_everywhere(caplog):
    drawn = {}
    for workers in (0, 2):
        caplog.clear()
        mixture = make_mixture(broken=(1,), skip_broken=True)
        loader = Loader(mixture, summarise, LoaderSettings(batch=6, workers=workers))
        drawn[workers] = [texts for texts, *_ in loader.run(0, 20)]
        assert loader.broken == {"small 1": "small episode 1: made to be broken"}
        assert [record.getMessage() for record in caplog.records] == [
            "passed over small 1: small episode 1: made to be broken"
        ]
    assert drawn[0] == drawn[2]
    assert not any("small/1/" in text for texts in drawn[0] for text in texts)
    whole = make_mixture(skip_broken=True)
    same = [
        (text, other)
        for step, texts in enumerate(drawn[0])
        for text, other in zip(texts, names(whole.draw(step, 6).samples), strict=True)
    ]
    changed = [other for text, other in same if text != other]
    assert changed and all("small/1/" in other for other in changed), "others were drawn anew"


def test_a_source_of_nothing_but_broken_episodes_is_refused():
    source = MadeUpSource("bad", [4, 4], skip_broken=True, broken=(0, 1))
    with pytest.raises(SourceError, match=r"20 episodes in turn were broken, .*made to be"):
        Mixture([source], seed=0).draw(0, 1)


def test_nothing_to_draw_is_refused():
    with pytest.raises(SourceError, match="there are no sources"):
        Mixture([], seed=0)
    with pytest.raises(SourceError, match="hollow has no samples"):
        Mixture([MadeUpSource("hollow", [0, 0]), MadeUpSource("full", [1])], seed=0)
