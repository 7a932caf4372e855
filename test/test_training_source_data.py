# SPDX-License-Identifier: Apache-2.0
"""`dm0 train` with sources: it goes on from a checkpoint with data of one's own."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from hybrid_samples import SCAFFOLD, TEACHING, TINY, tiny_recipe
from source_samples import FPS, write_small_dexdata

from dm0_ros.model import DM0
from dm0_ros.policy.dm0_policy import Dm0Policy
from dm0_ros.policy.normalisation import Normalisation, compute_stats
from dm0_ros.policy.pictures import PadColour
from dm0_ros.policy.tokenizer import load_tokenizer
from dm0_ros.robots import load_robot
from dm0_ros.training.recipe import HybridSettings, RecipeError, SourceRecipe, load_recipe
from dm0_ros.training.run import scale, train, write_checkpoint
from dm0_ros.training.source_data import SourceDataset
from dm0_ros.training.sources.augmentation import AugmentationSettings
from dm0_ros.training.sources.discrete import DiscreteSettings
from dm0_ros.training.sources.sample import BrokenEpisodeError, SourceError
from dm0_ros.training.sources.settings import SourceKind, SourceSettings
from dm0_ros.training.vocabulary import save_tokenizer, train_tokenizer

SENTENCES = [f"task {number}" for number in range(4)] + ["reach for it"]


def by_position(robot, layout):
    """Columns that Dexdata, which name none, have in this order."""
    columns = load_robot(robot).layout(layout).columns
    return {name: str(index) for index, name in enumerate(columns)}


def write_initial(folder, network):
    """A checkpoint that never learnt text."""
    folder.mkdir(exist_ok=True)
    recipe = replace(tiny_recipe(), scaffold=None, hybrid=None, network=network)
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    stats = compute_stats(random.normal(size=(9, 8)), random.normal(size=(9, 8)), 8)
    write_checkpoint(recipe, DM0(network.config()), stats, folder)
    save_tokenizer(train_tokenizer(SENTENCES, 340), folder)
    return folder


@pytest.fixture(scope="module")
def initial(tmp_path_factory):
    return write_initial(tmp_path_factory.mktemp("initial"), TINY)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for name in ("robot", "questions"):
        (folder / name).mkdir()
        write_small_dexdata(folder / name, answer="reach for it" if name == "questions" else None)
    return folder


@pytest.fixture(scope="module")
def recipe(initial, data):
    common = {"kind": SourceKind.DEXDATA, "cameras": {"images_1": "right_hand"}}
    more = {"robot": "franka", "layout": "joint", "step": 1 / FPS, "fps": FPS, "rows": 5}
    return SourceRecipe(
        name="mine",
        robot="franka",
        layout="joint",
        step=1 / FPS,
        normalisation=Normalisation.QUANTILE,
        max_text_tokens=300,  # wordings have words that this tokenizer spells
        picture_pad=PadColour.BLACK,
        masked_slots=("high",),
        network=TINY,
        optimiser=tiny_recipe(steps=8, batch=4, save_every=4).optimiser,
        initial=str(initial),
        sources=(
            SourceSettings(path=str(data / "robot"), name="robot", **common, **more),
            SourceSettings(path=str(data / "questions"), name="questions", **common),
        ),
        longest_answer=40,
        augmentation=AugmentationSettings(),
        wordings="manipulation",
    )


def run(recipe, folder):
    seen = []
    checkpoint = train(recipe, 0, folder, 1, "cpu", seen.append)
    return checkpoint, [progress.losses for progress in seen]


def test_a_run_on_sources_ends_in_a_checkpoint_that_drives_a_robot(recipe, tmp_path):
    checkpoint, losses = run(recipe, tmp_path)
    assert len(losses) == 8 and all(set(loss) == {"text", "flow"} for loss in losses)
    assert any(loss["text"] > 0 for loss in losses) and any(loss["flow"] > 0 for loss in losses)
    tokenizer = load_tokenizer(checkpoint)
    assert tokenizer.find("<|im_end|>") is not None and tokenizer.find("<action_7>") is not None
    policy = Dm0Policy.from_checkpoint(checkpoint, load_robot("franka"))
    assert policy is not None
    assert "world" not in (checkpoint / "policy.yaml").read_text()


def test_a_resumed_run_has_the_losses_of_an_uninterrupted_one(recipe, tmp_path):
    _, straight = run(recipe, tmp_path / "straight")

    class Interruption(Exception):
        pass

    def interrupt(progress):
        if progress.done == 4:
            raise Interruption

    with pytest.raises(Interruption):
        train(recipe, 0, tmp_path / "broken", 1, "cpu", interrupt)
    _, rest = run(recipe, tmp_path / "broken")
    assert rest == straight[4:]


def test_wordings_name_robot_and_control_of_each_source(recipe, data, tmp_path):
    path = tmp_path / "tags.yaml"
    path.write_text(
        'plain: 0.0\norders: [[who, how, ask]]\nparts: {who: ["{robot}"], how: ["{control}"], '
        'ask: ["{instruction}"]}\n'
    )
    save_tokenizer(train_tokenizer(SENTENCES, 600, ["reach for it"]), tmp_path)
    pose = replace(
        recipe.sources[0], name="pose", layout="pose", columns=by_position("franka", "pose")
    )
    other = replace(
        recipe.sources[0], name="other", robot="panda", columns=by_position("panda", "joint")
    )
    sources = (*recipe.sources, pose, other)
    dataset = SourceDataset(replace(recipe, wordings=str(path), sources=sources), tmp_path)
    given = range(3), 0, 16, None, dataset.stats(), slice(0, 16, 1)
    words = load_tokenizer(tmp_path)
    prompts = {
        words.decode(ids[:count].tolist()).partition("USER: ")[2].strip()
        for batch, _ in dataset.stream(*given)
        for ids, count in zip(batch.token_ids, batch.prompts, strict=True)
    }
    openings = ("", "<joint_control> ", "<robot_franka> <joint_control> ")
    openings += ("<robot_franka> <eef_control> ",)
    assert prompts == {f"{opening}task {number}" for opening in openings for number in range(2)}


def test_shares_make_up_the_whole_and_workers_change_nothing(recipe, tmp_path):
    save_tokenizer(train_tokenizer(SENTENCES, 600, ["reach for it"]), tmp_path)
    stats = SourceDataset(recipe, tmp_path).stats()

    def draw(share, **changes):
        dataset = SourceDataset(replace(recipe, **changes), tmp_path)
        return [batch for batch, _ in dataset.stream(range(2, 4), 0, 4, None, stats, share)]

    whole = draw(slice(0, 4, 1))
    assert len(whole) == 2 and not torch.equal(whole[0].images, whole[1].images)
    for batch, ahead in zip(whole, draw(slice(0, 4, 1), loaders=1), strict=True):
        assert torch.equal(batch.images, ahead.images)
        assert torch.equal(batch.token_ids, ahead.token_ids)
    for rank in (0, 1):
        for batch, part in zip(whole, draw(slice(rank, 4, 2)), strict=True):
            assert torch.equal(part.images, batch.images[rank::2])
            assert torch.equal(part.actions, batch.actions[rank::2])


def test_progress_is_learnt_where_network_and_sources_have_it(recipe, tmp_path):
    network = replace(TINY, progress=True)
    start = write_initial(tmp_path / "initial", network)
    robot, questions = recipe.sources
    sources = (replace(robot, progress=True), questions)
    recipe = replace(recipe, network=network, sources=sources, initial=str(start))
    checkpoint, losses = run(recipe, tmp_path / "run")
    assert all(set(loss) == {"text", "flow", "progress"} for loss in losses)
    assert any(loss["progress"] > 0 for loss in losses)
    assert DM0.from_pretrained(checkpoint).config.progress


def test_prompts_that_do_not_fit_are_refused(recipe, tmp_path):
    place = r"(robot|questions) part[01]/episode[01]\.jsonl: line \d+: the instruction is too long"
    with pytest.raises(BrokenEpisodeError, match=place):
        run(replace(recipe, max_text_tokens=8), tmp_path)


LONG = {"prompt": "the instruction is too long", "answer": "an answer has 40[0-9] tokens"}


@pytest.mark.parametrize("key", LONG)
@pytest.mark.parametrize("loaders", [0, 1])
def test_a_line_with_too_long_a_text_is_named_or_passed_over(
    recipe, tmp_path, key, loaders, caplog
):
    folder = write_small_dexdata(tmp_path, answer="reach for it")
    path = folder / "part1" / "episode1.jsonl"
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    lines[4][key] = "zq" * 200
    path.write_text("\n".join(map(json.dumps, lines)))
    save_tokenizer(train_tokenizer(SENTENCES, 600, ["reach for it"]), tmp_path)

    def read(skip):
        source = replace(recipe.sources[0], path=str(folder), skip_broken=skip)
        dataset = SourceDataset(replace(recipe, sources=(source,), loaders=loaders), tmp_path)
        given = range(6), 0, 8, None, dataset.stats(), slice(0, 8, 1)
        return [batch for batch, _ in dataset.stream(*given)]

    message = rf"robot part1/episode1\.jsonl: line 5: {LONG[key]}"
    with pytest.raises(BrokenEpisodeError, match=message):
        read(skip=False)
    assert len(read(skip=True)) == 6
    assert re.search(f"passed over robot 1: {message}", caplog.text)


def test_a_robots_data_without_text_teach_the_trunk(recipe, tmp_path):
    """Decoupled by discrete actions alone, else by the flow."""
    robot = recipe.sources[:1]
    still = replace(recipe.optimiser, weight_decay=0.0)  # a decay moves what learns nothing
    discrete = DiscreteSettings("nano", (1, 4))
    ways = {"words": {"discrete": discrete}, "flow": {"hybrid": HybridSettings(decouple=False)}}
    for way, changes in ways.items():
        changed = replace(recipe, sources=robot, optimiser=still, longest_answer=60, **changes)
        checkpoint, losses = run(changed, tmp_path / way)
        assert all((loss["text"] > 0) == (way == "words") for loss in losses)
        start, end = (
            DM0.from_pretrained(folder).state_dict() for folder in (recipe.initial, checkpoint)
        )
        for part in ("llm.layers", "mm_vision_tower"):
            moved = [name for name in start if part in name and (start[name] != end[name]).any()]
            assert moved, f"{part} learns from {way}"


def test_a_trunk_that_nothing_teaches_is_refused(recipe):
    robot = replace(recipe.sources[0], kind=SourceKind.LEROBOT, fps=None)
    for hybrid in (None, HybridSettings()):
        with pytest.raises(RecipeError, match=r"^hybrid\.decouple: is true.*'decouple: false'"):
            replace(recipe, sources=(robot,), hybrid=hybrid)
    replace(recipe, sources=(robot, recipe.sources[1]))
    replace(recipe, sources=(robot,), discrete=DiscreteSettings("nano", (4,)))


def test_a_robots_lines_without_answers_teach_no_trunk(recipe, tmp_path):
    alone = replace(recipe, sources=recipe.sources[:1])
    with pytest.raises(RecipeError, match=r"^hybrid\.decouple: is true"):
        SourceDataset(alone, tmp_path)
    SourceDataset(replace(alone, hybrid=HybridSettings(decouple=False)), tmp_path)
    folder = write_small_dexdata(tmp_path, answer="reach for it")
    talking = replace(alone.sources[0], path=str(folder))
    SourceDataset(replace(alone, sources=(talking,)), tmp_path)


@pytest.mark.parametrize("rows", [(), (0, 5), (2, 1), (-1,)])
def test_discrete_actions_are_of_rows_that_there_are(recipe, rows):
    with pytest.raises(RecipeError, match=r"^discrete\.rows: are .* from 0 to 4"):
        replace(recipe, discrete=DiscreteSettings("nano", rows))


def test_sources_without_a_robot_are_refused(recipe, tmp_path):
    with pytest.raises(SourceError, match=r"mine: no source is of .*but none of any"):
        SourceDataset(replace(recipe, sources=recipe.sources[1:]), tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"robot": "arx5"},
            r"mine: no source is of a robot arx5 .*joint.* of franka \(joint",
        ),
        ({"layout": "pose"}, r"mine: no source is of a robot franka .*pose.* of franka \(joint"),
        ({"step": 0.05}, r"robot: its rows are 0\.1 s apart, those of mine 0\.05 s"),
    ],
)
def test_sources_of_another_robot_layout_or_step_are_refused(recipe, tmp_path, changes, words):
    with pytest.raises(SourceError, match=words):
        SourceDataset(replace(recipe, **changes), tmp_path)


@pytest.mark.parametrize(("number", "name"), [(0, "robot"), (1, "questions")])
def test_a_source_that_the_network_does_not_see_is_refused(recipe, tmp_path, number, name):
    sources = list(recipe.sources)
    sources[number] = replace(sources[number], cameras={"images_1": "high"})
    flaw = f"^{name}: the network looks at none of its pictures, which are high, .* high; map"
    with pytest.raises(SourceError, match=flaw):
        SourceDataset(replace(recipe, sources=tuple(sources)), tmp_path)
    sources[number] = replace(sources[number], cameras={})
    given = replace(recipe, sources=tuple(sources))
    if name == "questions":
        SourceDataset(given, tmp_path)
    else:
        with pytest.raises(SourceError, match=r"^robot: .* which are none, "):
            SourceDataset(given, tmp_path)


def test_other_robots_may_have_other_steps(recipe, tmp_path):
    other = replace(recipe.sources[0], name="other", layout="pose", step=0.05)
    SourceDataset(replace(recipe, sources=(*recipe.sources, other)), tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"initial": None}, "on top of a checkpoint"),
        ({"scaffold": SCAFFOLD}, "answers of sources are theirs"),
        ({"hybrid": TEACHING}, "leave"),
    ],
)
def test_contradictions_are_refused(recipe, changes, words):
    with pytest.raises(RecipeError, match=words):
        replace(recipe, **changes)


def test_a_recipe_with_sources_is_read_from_yaml(recipe, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        f"""name: mine
robot: franka
layout: joint
step: 0.1
normalisation: quantile
max_text_tokens: 40
picture_pad: black
masked_slots: [high]
initial: nano-franka
sources:
  - {{kind: lerobot, path: ~/data/tea, robot: franka, layout: joint, step: 0.1,
     cameras: {{observation.images.front: right_hand}}}}
augmentation: {{rotation: 2.0}}
discrete: {{grammar: paper, rows: [0, 4]}}
network:
  vision: {{image_size: 56, patch_size: 14, width: 32, layers: 1, heads: 2}}
  llm: {{vocab_size: 600, hidden_size: 32, intermediate_size: 48}}
  expert: {{vocab_size: 600, hidden_size: 32, intermediate_size: 48}}
  layers: 2
  heads: 2
  key_value_heads: 1
  head_dim: 16
  rope_theta: {TINY.rope_theta}
  action_dim: 8
  chunk_size: 5
optimiser: {{stage: sft, batch: 2}}
"""
    )
    read = load_recipe(path)
    assert isinstance(read, SourceRecipe) and read.network == TINY
    assert read.sources[0].kind is SourceKind.LEROBOT and read.augmentation.rotation == 2.0
    assert read.discrete == DiscreteSettings("paper", (0, 4))
    assert scale(read, 7, None).optimiser.steps == 7
    with pytest.raises(RecipeError, match=re.escape("mine: records no episodes")):
        scale(read, None, 3)
