# SPDX-License-Identifier: Apache-2.0
"""Samples of several robots and of none as batches that a network learns from."""

import pickle
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from hybrid_samples import TINY
from source_samples import FPS, MadeUpSource

from dm0_ros.model import DM0
from dm0_ros.policy.actions import decode_actions
from dm0_ros.policy.normalisation import Normalisation
from dm0_ros.policy.pictures import PadColour, prepare_picture
from dm0_ros.policy.tokenizer import load_tokenizer
from dm0_ros.robots import load_robot
from dm0_ros.scaffold.bins import from_bins
from dm0_ros.training.losses import hybrid_losses
from dm0_ros.training.sources.augmentation import AugmentationSettings
from dm0_ros.training.sources.batches import BatchMaker, BatchSettings
from dm0_ros.training.sources.discrete import ActionWriter, DiscreteSettings
from dm0_ros.training.sources.loader import Loader, LoaderSettings
from dm0_ros.training.sources.mixture import Draw, Mixture
from dm0_ros.training.sources.sample import Embodiment, SourceError
from dm0_ros.training.sources.statistics import gather_stats, merge_stats
from dm0_ros.training.sources.wordings import Wordings
from dm0_ros.training.vocabulary import save_tokenizer, train_tokenizer

SETTINGS = BatchSettings(
    picture_size=56,
    rows=5,
    columns=8,
    normalisation=Normalisation.QUANTILE,
    longest_prompt=64,
    longest_answer=40,
    masked_slots=("left_hand",),
)


class PoseSource(MadeUpSource):
    """Another robot, with seven columns."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.layout = load_robot("arx5").layout("pose")
        slots = load_robot("arx5").camera_slots
        self.embodiment = Embodiment("arx5", "pose", 1 / FPS, slots)

    def numbers(self, episode):
        numbers = super().numbers(episode)
        return replace(numbers, states=numbers.states[:, :7], rows=numbers.rows[..., :7])


class QuestionSource(MadeUpSource):
    """Questions, without a robot."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.layout = self.embodiment = None

    def take(self, episode, indices):
        for sample in super().take(episode, indices):
            yield replace(sample, state=None, rows=None, answer=f"it is {sample.instruction}")


@pytest.fixture(scope="module")
def sources():
    kinds = {"arm": MadeUpSource, "pose": PoseSource, "talk": QuestionSource}
    return [kind(name, [9, 7]) for name, kind in kinds.items()]


@pytest.fixture(scope="module")
def stats(sources):
    return merge_stats([gather_stats(source, 8) for source in sources if source.layout])


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    texts = ["arm/0/1", "pose/1/2", "talk/1/3", "please"]
    save_tokenizer(train_tokenizer(texts, 600, ["it is talk/0/1"]), folder)
    return folder


@pytest.fixture(scope="module")
def maker(sources, stats, tokenizer):
    return BatchMaker(SETTINGS, sources, stats, tokenizer)


def draw(sources, *places):
    samples = [next(sources[number].take(episode, [index])) for number, episode, index in places]
    return Draw(samples, [np.random.default_rng(i) for i in range(len(samples))])


def test_every_sample_has_its_pictures_text_and_actions(sources, stats, tokenizer, maker):
    drawn = draw(sources, (0, 1, 3), (1, 0, 5), (2, 1, 6))
    batch = maker(drawn)
    assert batch.images.shape == (3, 2, 3, 56, 56)
    # of robots the second view is `high`, of questions their only one is the first
    assert batch.image_masks.tolist() == [[False, True], [False, True], [True, False]]
    for views, masks, sample in zip(batch.images, batch.image_masks, drawn.samples, strict=True):
        expected = prepare_picture(sample.pictures["high"], 56, PadColour.BLACK)
        np.testing.assert_array_equal(views[masks][0], expected)
        assert not views[~masks].any()
    assert batch.acted.tolist() == [True, True, False]
    words = load_tokenizer(tokenizer)
    for row, sample in enumerate(drawn.samples):
        prompt = words.decode(batch.token_ids[row, : batch.prompts[row]].tolist())
        assert sample.instruction in prompt
        learnt = words.decode(batch.token_ids[row, batch.learnt[row]].tolist())
        assert learnt == ("it is talk/1/6<|im_end|>" if row == 2 else "")
    for row, source in enumerate(sources[:2]):
        sample, rule = drawn.samples[row], (stats, Normalisation.QUANTILE)
        decoded = decode_actions(batch.actions[row].numpy(), sample.state, source.layout, *rule)
        turns = (decoded - sample.rows + np.pi) % (2 * np.pi) - np.pi  # angles may be a turn off
        np.testing.assert_allclose(turns, 0.0, atol=1e-4)
    assert not batch.actions[2].any() and batch.progress is None


def test_answers_are_learnt_and_the_expert_never_sees_them(sources, maker, tokenizer):
    drawn = draw(sources, (0, 1, 3), (1, 0, 5))
    drawn.samples[0] = replace(drawn.samples[0], answer="it is talk/0/1")
    batch = maker(drawn)
    assert batch.acted.all() and batch.learnt.any(1).tolist() == [True, False]
    assert torch.equal(batch.shown, batch.prompts)


def test_a_robots_rows_are_words_where_its_data_have_none(sources, stats, maker, tokenizer):
    discrete = ActionWriter.load(DiscreteSettings("paper", (0, 3)))
    settings = replace(SETTINGS, discrete=discrete)
    drawn = draw(sources, (0, 1, 3), (1, 0, 5), (1, 0, 6), (2, 1, 6))
    drawn.samples[2] = replace(drawn.samples[2], answer="it is pose/0/6")
    batch = BatchMaker(settings, sources, stats, tokenizer)(drawn)
    words = load_tokenizer(tokenizer)
    texts = [
        words.decode(ids[learnt].tolist()).removesuffix("<|im_end|>")
        for ids, learnt in zip(batch.token_ids, batch.learnt, strict=True)
    ]
    for row, source in enumerate(sources[:2]):
        columns = len(source.layout.columns)
        told = from_bins([int(number) for number in re.findall(r"<action_(\d+)>", texts[row])])
        expected = np.clip(batch.actions[row].numpy()[[0, 3], :columns], -1, 1)
        np.testing.assert_allclose(told.reshape(2, columns), expected, atol=0.5 / 127 + 1e-6)
        assert re.fullmatch(r"\[(<action_\d+>,?)+\]\n", texts[row])
    assert texts[2:] == ["it is pose/0/6", "it is talk/1/6"]
    assert torch.equal(batch.shown, batch.prompts), "the expert is not told what it is to do"
    assert torch.equal(batch.actions, maker(drawn).actions)


def test_a_network_learns_from_what_workers_made(sources, stats, tokenizer):
    """From draw to gradient, over a process that pickled everything."""
    wordings = Wordings({"ask": ("please {instruction}", "{instruction}")}, (("ask",),), 0.0)
    settings = replace(SETTINGS, augmentation=AugmentationSettings(), wordings=wordings)
    maker = BatchMaker(settings, sources, stats, tokenizer)
    mixture = Mixture(sources, 0, finish=maker.word)
    batches = [
        list(Loader(mixture, maker, LoaderSettings(6, workers=workers)).run(0, 3))
        for workers in (0, 1)
    ]
    torch.manual_seed(0)
    model = DM0(TINY.config())
    for batch, same in zip(*batches, strict=True):
        for name, part in vars(batch).items():
            assert part is None or torch.equal(part, getattr(same, name)), name
        noise, time = torch.randn(6, 5, 8), torch.rand(6)
        losses = hybrid_losses(model, batch, noise, time, decouple=True)
        total = losses.text.mean() + losses.flow.mean()
        assert torch.isfinite(total)
        total.backward()
    assert any(parameter.grad.any() for parameter in model.parameters())


def test_pictures_change_as_far_as_answers_stay_true_of_them(sources, stats, tokenizer):
    gradient = np.linspace(0, 255, 64).astype(np.uint8)[None, :, None].repeat(48, 0).repeat(3, 2)
    drawn = draw(sources, (0, 0, 1), (0, 0, 1), (2, 0, 3))
    drawn.samples[1] = replace(drawn.samples[1], answer="box: 100 200 300 400")
    views = {"high": gradient}
    drawn = replace(drawn, samples=[replace(sample, pictures=views) for sample in drawn.samples])

    def show(changes):
        augmentation = AugmentationSettings(**changes)
        discrete = ActionWriter.load(DiscreteSettings("nano", (4,)))
        settings = replace(SETTINGS, masked_slots=("right_hand",), discrete=discrete)
        settings = replace(settings, augmentation=augmentation, longest_answer=80)
        return BatchMaker(settings, sources, stats, tokenizer)(drawn).images[:, 0]

    still = prepare_picture(gradient, 56, PadColour.BLACK)

    def same(images):
        return [bool(np.allclose(image, still, atol=0.01)) for image in images]

    assert same(show({"recoloured": 0.0})) == [False, True, True], "moved"
    colours = {"recoloured": 1.0, "area": 1.0, "rotation": 0.0}
    assert same(show(colours)) == [False, False, True], "recoloured"


SHADES = {"right_hand": 20, "high": 90, "left_hand": 160}


class SeeingSource(MadeUpSource):
    """A robot with all of its cameras; each shows a ramp that begins with its shade."""

    def __init__(self, robot):
        super().__init__(robot, [5])
        self.slots = load_robot(robot).camera_slots
        self.embodiment = replace(self.embodiment, robot=robot, slots=self.slots)

    def take(self, episode, indices):
        ramp = np.arange(56, dtype=np.uint8)[None, :, None].repeat(56, 0).repeat(3, 2)
        for sample in super().take(episode, indices):
            pictures = {slot: ramp + SHADES[slot] for slot in self.slots}
            yield replace(sample, pictures=pictures)


def test_each_robot_has_its_own_order_of_views_and_main_view(stats, tokenizer):
    robots = [SeeingSource(name) for name in ("franka", "aloha", "ur5")]
    settings = replace(SETTINGS, masked_slots=(), longest_prompt=90)

    def show(**changes):
        maker = BatchMaker(replace(settings, **changes), robots, stats, tokenizer)
        batch = maker(draw(robots, (0, 0, 1), (1, 0, 1), (2, 0, 1)))
        return batch.images.numpy(), batch.image_masks.tolist()

    images, masks = show()
    shades = np.rint((images[:, :, 0, 0, 0] + 1) * 127.5)
    orders = [[20, 90, 160], [90, 160, 20], [20, 160]]
    for row, order in enumerate(orders):
        assert shades[row, : len(order)].tolist() == order
    assert masks == [[True] * 3, [True] * 3, [True, True, False]] and not images[2, 2].any()
    moved, _ = show(augmentation=AugmentationSettings(recoloured=0.0))
    changed = np.abs(moved - images).max((2, 3, 4)) > 0.01
    assert changed.tolist() == [[True, False, False]] * 3, "the first view is the main one"
    _, masks = show(masked_slots=("high",))
    assert masks == [[True, True]] * 3, "as many views as the robot with the most"


def test_wordings_are_for_robots_and_say_what_is_known(sources, stats, tokenizer):
    parts = {"who": ("{robot}",), "how": ("{progress} done",), "ask": ("{instruction}",)}
    wordings = Wordings(parts, (("who", "how", "ask"),), 0.0)
    settings = replace(SETTINGS, wordings=wordings, fields={"pose": {"robot": "arx"}})
    drawn = draw(sources, (0, 0, 1), (1, 0, 2), (2, 0, 3))
    maker = BatchMaker(settings, sources, stats, tokenizer)
    worded = [
        maker.word(replace(sample, progress=(0.25, 0.5)), "here", generator)
        for sample, generator in zip(drawn.samples, drawn.generators, strict=True)
    ]
    batch = maker(replace(drawn, samples=worded))
    words = load_tokenizer(tokenizer)
    prompts = [
        words.decode(ids[:count].tolist()).partition("USER: ")[2].strip()
        for ids, count in zip(batch.token_ids, batch.prompts, strict=True)
    ]
    assert prompts == ["25 done arm/0/1", "arx 25 done pose/0/2", "talk/0/3"]
    assert batch.progress.tolist() == [[0.25, 0.5]] * 3


def test_progress_of_some_is_refused(sources, maker):
    drawn = draw(sources, (0, 0, 1), (1, 0, 2), (2, 0, 3))
    drawn.samples[0] = replace(drawn.samples[0], progress=(0.1, 0.2))
    with pytest.raises(SourceError, match=r"^pose: says no progress, but others do"):
        maker(drawn)
    drawn.samples[1] = replace(drawn.samples[1], progress=(0.3, 0.4))
    np.testing.assert_allclose(maker(drawn).progress, [[0.1, 0.2], [0.3, 0.4], [0.0, 0.0]])


def test_chunks_of_another_length_are_refused(sources, maker):
    drawn = draw(sources, (0, 0, 1))
    drawn.samples[0] = replace(drawn.samples[0], rows=np.zeros((4, 8), np.float32))
    with pytest.raises(SourceError, match="arm: has chunks of 4 rows, the network takes 5"):
        maker(drawn)


def test_names_are_told_apart(sources, stats, tokenizer):
    with pytest.raises(SourceError, match="two sources have the same name"):
        BatchMaker(SETTINGS, [*sources, MadeUpSource("arm", [3])], stats, tokenizer)


def test_a_maker_is_pickled_without_its_tokenizer(sources, maker):
    maker(draw(sources, (0, 0, 1)))  # loads it
    again = pickle.loads(pickle.dumps(maker))
    drawn = draw(sources, (0, 1, 2))
    assert torch.equal(again(drawn).token_ids, maker(drawn).token_ids)
