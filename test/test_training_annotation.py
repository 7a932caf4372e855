# SPDX-License-Identifier: Apache-2.0
"""What recordings say of each frame: the expert's phases in order, boxes, paths, and scaffolds."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from dm0_ros.errors import RobotError
from dm0_ros.robots import load_robot
from dm0_ros.robots.cameras import Projection
from dm0_ros.robots.kinematics import Chain, load_urdf
from dm0_ros.scaffold.grammar import load_grammar
from dm0_ros.scaffold.levels import Level
from dm0_ros.scaffold.places import box_iou, box_to_pixels, to_pixels
from dm0_ros.scaffold.settings import ScaffoldSettings
from dm0_ros.sim.world import Phase
from dm0_ros.training import recording
from dm0_ros.training.annotation import (
    PHASE_ORDER,
    Composer,
    check_scaffold,
    find_views,
    load_annotations,
)
from dm0_ros.training.expert import Scene
from dm0_ros.training.recipe import RecipeError, load_recipe
from dm0_ros.training.recording import Recorder, record_episodes

LEVELS = (Level.SUBTASK, Level.BOX, Level.TRAJECTORY)
ROWS = (9, 19, 29, 39, 49)


def with_scaffold(name, view, rows=ROWS, **data):
    recipe = load_recipe(name)
    scaffold = ScaffoldSettings("nano", LEVELS, view, limit=120, path_rows=rows)
    return replace(recipe, scaffold=scaffold, data=replace(recipe.data, **data))


@pytest.fixture(scope="module")
def reacher():
    return Recorder(with_scaffold("nano-franka", "right_hand"), seed=0)


@pytest.fixture(scope="module")
def pair():
    return Recorder(with_scaffold("nano-aloha", "high"), seed=0)


@pytest.fixture(scope="module")
def picker():
    return Recorder(with_scaffold("nano-franka-pick", "right_hand"), seed=0)


def act(recorder, index, seed, seconds):
    """The expert acts for one object from home; its phase, and the scene, every 0.1 s."""
    simulator, expert = recorder.simulator, recorder.expert
    simulator.reset(seed=seed)
    phases, scenes = [], []
    while simulator.time < seconds:
        for row in expert.plan(Scene.of(simulator), 50, 0.1)[index, 1:5]:
            scenes.append(Scene.of(simulator))
            phases.append(expert.phases(scenes[-1])[index])
            simulator.command(expert.names, row)
            simulator.step(0.1)
    return phases, scenes


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("robot", ["reacher", "pair"])
def test_who_touches_moves_above_and_then_down(robot, seed, request):
    recorder = request.getfixturevalue(robot)
    phases, _ = act(recorder, seed, seed, 2.8)
    groups = [phase for phase, _ in itertools.groupby(phases)]
    assert groups in ([Phase.ABOVE, Phase.LOWER], [Phase.LOWER])  # a block may lie below home
    names = recorder.simulator.world.object_names
    assert recorder.simulator.outcomes[0].name == names[seed]


@pytest.mark.parametrize("seed", range(4))
def test_who_places_goes_through_the_phases_in_order(picker, seed):
    index, simulator = seed % 3, picker.simulator
    phases, scenes = act(picker, index, seed, 7.2)
    assert [phase for phase, _ in itertools.groupby(phases)] == list(Phase)
    assert [outcome.name for outcome in simulator.outcomes] == [
        simulator.world.object_names[index]
    ]
    tool = Chain(load_urdf(simulator.spec), "fr3_link0", "fr3_hand_tcp")
    for phase, scene in zip(phases, scenes, strict=True):
        distance = tool.pose(scene.measured)[:3, 3] - scene.centres[index]
        if phase in (Phase.GRASP, Phase.CARRY, Phase.RELEASE):
            assert np.linalg.norm(distance) < 0.03
        if phase is Phase.ABOVE:
            opening = scene.measured[simulator.spec.gripper_names[0]]
            assert np.linalg.norm(distance[:2]) > 0.05 or opening < 0.06
        if phase is Phase.LEAVE:
            assert simulator.world.bin.holds(scene.centres[index, :2])


def test_every_recorded_frame_says_everything(reacher, pair, picker):
    for recorder in (reacher, pair, picker):
        recipe, simulator = recorder.recipe, recorder.simulator
        episode = recorder.perform(0)
        frames, objects = recipe.data.frames, len(simulator.world.objects)
        assert episode["boxes"].shape == (frames, objects, 4)
        assert episode["paths"].shape == (
            frames,
            objects,
            len(recorder.robot.end_effectors),
            len(ROWS),
            2,
        )
        camera = recorder.robot.simulation.cameras[recipe.scaffold.view]
        boxes = episode["boxes"]
        assert np.all(boxes >= 0) and np.all(boxes <= camera.width)
        assert np.min(boxes[..., 2:] - boxes[..., :2]) > 5
        assert np.all((episode["visible"] >= 0) & (episode["visible"] <= 1))
        assert np.all((episode["paths"] > 0) & (episode["paths"] < camera.width))
        for phase in np.unique(episode["phases"]):
            assert simulator.task.subtask(PHASE_ORDER[phase], "red")
    in_bin = np.vectorize(lambda number: PHASE_ORDER[number].ends_in_bin)(episode["phases"])
    assert in_bin.any() and not in_bin.all()
    goals = episode["boxes"][in_bin]
    np.testing.assert_array_equal(goals, np.tile(goals[0], (len(goals), 1)))
    np.testing.assert_allclose(goals[0], recorder.annotator.truth.bin_box(), rtol=1e-6)


def test_paths_are_those_of_the_recorded_rows(pair):
    episode, robot = pair.perform(1), pair.robot
    urdf = load_urdf(robot)
    projection = Projection.of(robot.simulation.cameras["high"])
    for number, end in enumerate(robot.end_effectors):
        mount, arm = Chain(urdf, "base_link", end.base).pose({}), Chain(urdf, end.base, end.tool)
        for index, row in itertools.product(range(3), range(len(ROWS))):
            values = episode["rows"][2, index, ROWS[row]]
            joints = dict(zip(pair.layout.columns, values, strict=True))
            place = mount @ arm.pose(joints)[:, 3]
            (pixel,) = projection.project(place[None, :3])
            recorded = episode["paths"][2, index, number, row]
            np.testing.assert_allclose(recorded, pixel, atol=0.01)


def test_a_touched_block_has_the_end_of_the_path_in_its_box(reacher):
    episode = reacher.perform(2)
    ends, boxes = episode["paths"][:, :, 0, -1], episode["boxes"]
    assert np.all((ends > boxes[..., :2]) & (ends < boxes[..., 2:]))


def test_scaffolds_are_composed_that_the_grammar_can_write(pair, picker):
    grammar = load_grammar("nano")
    for recorder, keys in ((pair, {"left", "right"}), (picker, {"main"})):
        composer, episode = Composer(recorder.recipe), recorder.perform(0)
        camera = recorder.robot.simulation.cameras[recorder.recipe.scaffold.view]
        size = (camera.width, camera.height)
        for frame, index in itertools.product(range(3), range(3)):
            moment = {key: values[frame] for key, values in episode.items()}
            scaffold = composer.compose(moment, index)
            assert grammar.parse(grammar.write(scaffold, LEVELS)) == scaffold
            assert recorder.simulator.world.object_names[index] in scaffold.subtask
            assert box_iou(box_to_pixels(scaffold.box, *size), moment["boxes"][index]) > 0.95
            assert set(scaffold.paths) == keys
            for path, truth in zip(scaffold.paths.values(), moment["paths"][index], strict=True):
                np.testing.assert_allclose(to_pixels(path, *size), truth, atol=0.2)


def test_a_scaffold_leaves_out_what_is_not_in_the_picture(picker):
    composer = Composer(picker.recipe)
    moment = {
        "phases": np.array([3]),
        "boxes": np.full((1, 4), np.nan),
        "paths": np.array([[[[-9.0, 400.0], [168.0, 84.0]]]]),
    }
    scaffold = composer.compose(moment, 0, actions=[3, 254])
    assert scaffold.subtask == "carry the red block to the bin"
    assert scaffold.box is None and scaffold.actions == (3, 254)
    assert scaffold.paths == {"main": ((0, 1000), (500, 250))}
    moment["paths"][0, 0, 0] = np.nan
    assert composer.compose(moment, 0).paths == {}


def test_a_recording_without_scaffold_stays_as_it_was(reacher):
    plain = Recorder(replace(reacher.recipe, scaffold=None), seed=0)
    bare, full = plain.perform(3), reacher.perform(3)
    assert set(bare) == {"pictures", "states", "rows"}
    for key, values in bare.items():
        np.testing.assert_array_equal(values, full[key])
    assert "scaffold" not in recording._describe(plain.recipe)


def test_a_recording_has_files_for_all_of_it_and_is_made_anew_for_other_rows(tmp_path):
    recipe = with_scaffold("nano-franka", "right_hand", rows=(9, 49), episodes=2, frames=2)

    def run(recipe):
        record_episodes(recipe, 0, folder, 1, lambda done, total: None)

    folder = tmp_path / "data"
    run(recipe)
    arrays = load_annotations(recipe, folder)
    assert set(arrays) == {"boxes", "phases", "visible", "paths"}
    kept = {path.stem for path in folder.glob("*.npy")}
    assert kept - set(arrays) == {"pictures", "states", "rows"}
    assert {len(values) for values in arrays.values()} == {4}
    assert arrays["paths"].shape[-2] == 2 and arrays["boxes"].min() > 0
    stamp = json.loads((folder / "recording.json").read_text())
    assert stamp["scaffold"] == {"view": "right_hand", "path_rows": [9, 49]}
    (folder / "mark").touch()
    run(replace(recipe, scaffold=replace(recipe.scaffold, grammar="paper", limit=9)))
    assert (folder / "mark").exists()
    subtasks = replace(recipe.scaffold, levels=LEVELS[:1], path_rows=())
    run(replace(recipe, scaffold=subtasks))
    assert not (folder / "mark").exists() and not (folder / "paths.npy").exists()


def test_the_main_view_is_a_fixed_camera():
    assert find_views(load_robot("franka")) == ("right_hand", "high")
    assert find_views(load_robot("mobile_aloha")) == ("high",)


@pytest.mark.parametrize(
    ("changes", "error", "reason"),
    [
        ({"view": "left_hand"}, RecipeError, "scaffold.view: 'left_hand' is no fixed camera that"),
        ({"view": "high"}, RecipeError, "the network sees; choose one of right_hand"),
        ({"path_rows": (9, 50)}, RecipeError, "scaffold.path_rows: goes beyond the plan"),
    ],
)
def test_what_a_recipe_cannot_have_is_refused(changes, error, reason):
    recipe = with_scaffold("nano-franka", "right_hand")
    with pytest.raises(error, match=reason):
        check_scaffold(replace(recipe, scaffold=replace(recipe.scaffold, **changes)))


def test_a_drive_has_no_scaffold():
    scaffold = ScaffoldSettings("nano", LEVELS[:1], "front", limit=9)
    with pytest.raises(RecipeError, match="scaffold: drives have no truth"):
        replace(load_recipe("nano-navigation"), scaffold=scaffold)


def test_a_task_without_words_for_its_phases_is_refused(monkeypatch):
    recipe = with_scaffold("nano-franka", "right_hand")
    world = recording.load_world(recipe.world)
    mute = replace(world.task(), instructions=replace(world.task().instructions, subtasks={}))
    world = replace(world, tasks={"touch": mute})
    monkeypatch.setattr("dm0_ros.training.annotation.load_world", lambda name: world)
    with pytest.raises(RobotError, match="no words for the phase above"):
        check_scaffold(recipe)
    with pytest.raises(RobotError, match="has the phases above, lower, but worded are above"):
        replace(mute, instructions=replace(mute.instructions, subtasks={"above": "x"}))
    with pytest.raises(RecipeError, match="says nothing of scaffolds"):
        Composer(load_recipe("nano-franka"))
