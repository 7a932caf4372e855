# SPDX-License-Identifier: Apache-2.0
"""The ablation: cells differ in what they should, its measures are right, and it goes on."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hybrid_samples import tiny_recipe, tiny_recording

from dm0_ros.errors import Dm0Error
from dm0_ros.model import DM0
from dm0_ros.model.reasoning import Reasoning
from dm0_ros.model.text import generate
from dm0_ros.policy.prompt import encode_cue, encode_prompt, find_stop
from dm0_ros.policy.tokenizer import load_tokenizer
from dm0_ros.sim.world import load_world
from dm0_ros.training.losses import hybrid_losses
from dm0_ros.training.vocabulary import save_tokenizer, train_tokenizer

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True, scope="module")
def benchmarks():
    """benchmarks/ is a folder of programs, not a package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        yield


@pytest.fixture(scope="module")
def base(benchmarks):
    from support.ablation_run import RECIPE

    from dm0_ros.training.recipe import load_recipe

    return load_recipe(RECIPE)


def flatten(value, path=()):
    if isinstance(value, dict):
        return {k: v for key in value for k, v in flatten(value[key], (*path, key)).items()}
    return {path: value}


def test_cells_differ_in_levels_and_gradients_alone(base):
    from support.ablation_cells import CELLS, cell_recipe

    recipes = {cell.name: cell_recipe(base, cell) for cell in CELLS}
    assert len(recipes) == 7
    parts = {name: flatten(asdict(recipe)) for name, recipe in recipes.items()}
    common = parts.pop("action")
    for name, own in parts.items():
        differing = {key for key in common.keys() | own.keys() if common.get(key) != own.get(key)}
        if name == "none":
            assert {key[0] for key in differing} == {"name", "scaffold"}
        elif name == "action_coupled":
            assert differing == {("name",), ("hybrid", "decouple")}
        else:
            coupled = {("hybrid", "decouple")} if "coupled" in name else set()
            assert differing == {("name",), ("scaffold", "levels")} | coupled
    assert [len(r.scaffold.levels) if r.scaffold else 0 for r in recipes.values()] == [
        *range(5),
        3,
        4,
    ]
    assert all(recipe.optimiser.outline_rows for recipe in recipes.values())
    assert recipes["none"].teaching.decouple


def test_a_recording_for_a_shipped_recipe_would_do(base):
    """The benchmark can be given one with --data."""
    franka = ROOT / "config/training/nano-franka.yaml"
    from dm0_ros.training.recipe import load_recipe

    shipped = load_recipe(franka)
    for key in ("robot", "layout", "world", "task", "workspace", "data", "expert", "step"):
        assert getattr(base, key) == getattr(shipped, key)


def test_only_combinations_are_new():
    from support.ablation_cells import split_wordings

    world = load_world("three_blocks")
    wordings = world.task("touch").instructions.training
    split = {name: split_wordings(wordings, name) for name in world.object_names}
    for name, (seen, new) in split.items():
        assert sorted([*seen, *new]) == sorted(wordings)
        assert len(seen) >= 10 and len(new) >= 5
        others = {w for other, (own, _) in split.items() if other != name for w in own}
        assert set(new) <= others


def test_no_sentence_that_is_held_out_is_trained():
    from support.ablation_cells import split_wordings
    from support.ablation_data import SplitDataset

    recipe = tiny_recipe()
    dataset = SplitDataset(recipe, tiny_recording(recipe))
    drawn = {
        (name, sentence)
        for row in dataset._ask(200, np.random.default_rng(0))
        for name, sentence in zip(dataset.recording.objects, row, strict=True)
    }
    allowed = {
        (name, wording.format(object=name))
        for name in dataset.recording.objects
        for wording in split_wordings(dataset.recording.wordings, name)[0]
    }
    assert drawn == allowed
    assert set(dataset.sentences()) == {sentence for _, sentence in allowed}


NAMES = ("red", "green", "blue")
# Left to right: green, red, blue; from far to near: red and green (as far), blue
BOXES = np.array([[140, 80, 160, 100], [20, 79, 40, 99], [280, 180, 300, 200]], float)


def test_answers_are_those_that_one_sees():
    from support.questions import make_questions

    found = {q.text: (q.kind, q.answer) for q in make_questions(NAMES, BOXES, (300, 300))}
    assert found == {
        "where is the red block?": ("where", "middle"),
        "where is the green block?": ("where", "left"),
        "where is the blue block?": ("where", "right"),
        "what colour is the block on the left?": ("extreme", "green"),
        "what colour is the block on the right?": ("extreme", "blue"),
        "what colour is the block nearest to the camera?": ("extreme", "blue"),
        "which block is between the others?": ("between", "red"),
        "is the red block left of the green block?": ("relation", "no"),
        "is the red block left of the blue block?": ("relation", "yes"),
        "is the green block left of the red block?": ("relation", "yes"),
        "is the green block left of the blue block?": ("relation", "yes"),
        "is the blue block left of the red block?": ("relation", "no"),
        "is the blue block left of the green block?": ("relation", "no"),
    }
    hidden = BOXES.copy()
    hidden[0] = np.nan
    assert not any("red" in q.text for q in make_questions(NAMES, hidden, (300, 300)))
    assert make_questions(NAMES, np.full((3, 4), np.nan), (300, 300)) == []


def test_every_kind_is_asked_once_and_the_same_again():
    from support.questions import choose_questions, make_questions

    questions = make_questions(NAMES, BOXES, (300, 300))
    chosen = choose_questions(questions, np.random.default_rng(3))
    assert [q.kind for q in chosen] == ["between", "extreme", "relation", "where"]
    assert chosen == choose_questions(questions, np.random.default_rng(3))


def test_every_kind_is_picked_as_often():
    from support.questions import make_questions, pick

    questions = make_questions(NAMES, BOXES, (300, 300))
    picked = [pick(questions, part) for part in np.arange(1200) / 1200]
    kinds = [question.kind for question in picked]
    assert all(kinds.count(kind) == 300 for kind in ("between", "extreme", "relation", "where"))
    assert {question.text for question in picked} == {question.text for question in questions}


@pytest.fixture(scope="module")
def clever(tmp_path_factory):
    """A tiny network that knows the answers to one batch of questions by heart."""
    from support.ablation_cells import first_recipe
    from support.ablation_data import QuestionDataset

    recipe = first_recipe(tiny_recipe(), steps=1)
    recording = tiny_recording(recipe)
    dataset = QuestionDataset(recipe, recording, "right_hand")
    questions = [q for frame in range(dataset.size) for q in dataset.questions(frame)]
    words = [q.text for q in questions] + dataset.sentences(), [q.answer for q in questions]
    folder = tmp_path_factory.mktemp("clever")
    save_tokenizer(train_tokenizer(words[0], 600, words[1]), folder)
    tokenizer = load_tokenizer(folder)
    torch.manual_seed(0)
    model = DM0(recipe.network.config())
    batch = dataset.draw(np.random.default_rng(0), 4, tokenizer, dataset.stats())
    noise, moments = torch.randn_like(batch.actions), torch.full((len(batch.actions),), 0.5)
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    with torch.enable_grad():
        for _ in range(150):
            loss = hybrid_losses(model, batch, noise, moments, decouple=True).text.mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return dataset, tokenizer, model.eval(), batch, loss.item()


def test_a_frame_has_sentences_with_actions_and_questions_with_answers(clever):
    *_, batch, loss = clever
    acted = torch.tensor([True] * 3 + [False] * 3).repeat(4)
    assert torch.equal(batch.acted, acted)
    assert torch.equal(batch.learnt.any(1), ~acted)
    assert batch.actions[acted].any() and not batch.actions[~acted].any()
    assert (batch.shown == batch.prompts).all()
    assert loss < 0.1


def test_an_answer_counts_as_written_if_generation_writes_it(clever):
    from support.questions import answer_questions

    dataset, tokenizer, model, *_ = clever
    stop, results = find_stop(tokenizer), []
    for frame in range(0, dataset.size, 4):
        questions = dataset.questions(frame)
        images, seen = dataset.show(frame)
        for question, told in zip(
            questions,
            answer_questions(model, images, seen, questions, tokenizer, 64),
            strict=True,
        ):
            prompt, mask = encode_prompt(tokenizer, question.text, 64)
            ids = torch.from_numpy(np.concatenate([prompt[mask], encode_cue(tokenizer)]))[None]
            cache = model.encode_prefix(
                images, seen, ids, torch.ones_like(ids, dtype=torch.bool), want_hidden=True
            )
            reasoning = Reasoning(limit=20, stop_ids=frozenset({stop}))
            (text,), _ = generate(model, cache, reasoning)
            wrote = text.ending.whole and tokenizer.decode(text.token_ids) == question.answer
            assert told["written"] == wrote
            assert told["chosen"] or not told["written"]
            results.append((told["written"], told["chosen"]))
    written, chosen = np.mean(results, axis=0)
    assert 0.2 < written < 1 and 0.2 < chosen < 1  # both happened


def run(cell, seed, right, answers, **more):
    episodes = [
        {"kind": kind, "number": n, "success": bool(s), "seconds": 1.0 if s else 2.0 + n}
        for kind, wins in right.items()
        for n, s in enumerate(wins)
    ]
    asked = [{"frame": n // 2, "written": bool(a), "chosen": True} for n, a in enumerate(answers)]
    return {
        "cell": cell,
        "seed": seed,
        "seconds": {},
        "answers": asked,
        "episodes": episodes,
        **more,
    }


def test_figures_are_as_by_hand():
    from support.ablation_report import make_table, summarise_cells

    none = run("none", 0, {"seen": [1, 0, 1, 0], "new": [0, 0, 0, 0]}, [1, 1, 0, 0])
    box = run("subtask", 0, {"seen": [1, 1, 1, 0], "new": [1, 1, 1, 1]}, [1, 0, 0, 0])
    score = {"valid": True, "subtask": True, "box_iou": None, "path_error": None}
    box["episodes"][0]["scores"] = [score, {**score, "valid": False}]
    first = {"cell": "first", "seed": 0, "answers": none["answers"][:1] * 4}
    figures = summarise_cells([first, none, box], time_limit=5.0)
    assert list(figures["cells"]) == ["none", "subtask"]
    cell = figures["cells"]["subtask"]
    assert (cell["seen"]["successes"], cell["seen"]["by_seed"]) == (3, [0.75])
    assert (cell["valid"], cell["box_iou"], cell["plans"]) == (0.5, None, 2)
    kept = cell["questions"]["written"]
    assert (kept["before"], kept["after"], kept["change"]) == (1.0, 0.25, -0.75)
    (row,) = figures["comparisons"]
    assert (row["cell"], row["against"]) == ("subtask", "none")
    assert row["seen"]["difference"] == 0.25
    assert row["new"] == {"difference": 1.0, "difference_95": (1.0, 1.0)}
    assert row["written"]["difference"] == -0.25
    table = make_table(figures)
    assert cell["untouched"] == 1 and figures["cells"]["none"]["untouched"] == 2
    row = "| subtask | decoupled | 75 (30 to 95) | 100 (51 to 100) | 0 / 1 | 0.50 | - | - |"
    assert row in table
    assert "| nothing | decoupled | 50 (15 to 85) | 0 (0 to 49) | 4 / 2 | - | - | - |" in table
    assert "| subtask minus nothing | +25 (+0 to +75) | +100 (+100 to +100) |" in table


def test_the_table_is_put_between_its_marks(tmp_path):
    from support.ablation_report import BEGIN, END, insert_table

    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{BEGIN}\nnot run yet\n{END}\n\nafter\n")
    for table in ("one", "two"):
        insert_table(page, table)
    assert page.read_text() == f"before\n\n{BEGIN}\ntwo\n{END}\n\nafter\n"
    assert (ROOT / "docs/ablation.md").read_text().count(BEGIN) == 1


def test_a_torn_line_is_cut_off(tmp_path):
    from support.ablation_folder import read_lines

    file = tmp_path / "lines"
    assert read_lines(file) == []
    file.write_text('{"a": 1}\n{"a": ')
    assert read_lines(file) == [{"a": 1}]
    assert file.read_text() == '{"a": 1}\n'


class Killed(BaseException):
    pass


@pytest.fixture(scope="module")
def plan(tmp_path_factory, benchmarks):
    from support.ablation_run import Plan, record, run_trunk

    plan = Plan(
        out=tmp_path_factory.mktemp("ablation"),
        steps=2,
        trunk_steps=2,
        first_steps=2,
        recorded=4,
        episodes=1,
        frames=2,
        period=0.5,
        time_limit=1.0,
    )
    record(plan, 1, lambda line: None)
    run_trunk(plan, lambda line: None)
    return plan


def quiet(_line):
    pass


def without_times(result):
    """What does not depend on the machine."""
    kept = json.loads(json.dumps({**result, "seconds": None}))
    for episode in kept.get("episodes", ()):
        for score in episode.get("scores", ()):
            score.pop("milliseconds")
    return kept


def test_a_killed_run_ends_as_one_that_was_not(plan, tmp_path_factory):
    from support.ablation_cells import CELLS
    from support.ablation_folder import claim
    from support.ablation_run import read_results, record, run_cell, run_first, run_trunk

    subtask = CELLS[1]
    whole = run_first(plan, 0, quiet), run_cell(plan, subtask, 0, quiet)
    other = replace(plan, out=tmp_path_factory.mktemp("killed"), data=plan.recording)
    record(other, 1, quiet)
    with pytest.raises(Dm0Error, match="trunk is not finished"):
        run_first(other, 0, quiet)
    run_trunk(other, quiet)
    with pytest.raises(Dm0Error, match="is not finished"):
        run_cell(other, subtask, 0, quiet)
    first = run_first(other, 0, quiet)

    def kill(line):
        if "1 episodes" in line:
            raise Killed

    with pytest.raises(Killed):
        run_cell(other, subtask, 0, kill)
    folder = other.folder("subtask", 0)
    assert not (folder / "result.json").exists()
    assert len((folder / "episodes.jsonl").read_text().splitlines()) == 1
    lines = []
    again = run_cell(other, subtask, 0, lines.append)
    assert [line for line in lines if "episodes" in line] == ["subtask-seed0: 2 episodes, 0 right"]
    assert again["seconds"]["steps_timed"] == 0  # of training all was there
    assert list(map(without_times, (first, again))) == list(map(without_times, whole))
    assert [e["kind"] for e in again["episodes"]] == ["seen", "new"]
    # What is finished is read: nothing is reported, for nothing is done.
    lines.clear()
    assert run_cell(other, subtask, 0, lines.append) == json.loads(
        (folder / "result.json").read_text()
    )
    assert lines == []
    assert [result["cell"] for result in read_results(other, [0, 1])] == ["first", "subtask"]
    with pytest.raises(Dm0Error, match="other settings"):
        read_results(replace(other, frames=3), [0])
    with claim(folder), pytest.raises(Dm0Error, match="another process works there"):
        run_cell(other, subtask, 0, quiet)
    with pytest.raises(Dm0Error, match="other settings"):
        run_cell(replace(other, period=0.4), subtask, 0, quiet)


def test_an_expert_is_forgotten_and_nothing_else(plan, tmp_path):
    from support.ablation_run import renew_expert

    trained = DM0.from_pretrained(plan.trunk / "checkpoint", torch.float32).state_dict()
    one, again, other = (
        DM0.from_pretrained(
            renew_expert(plan.trunk / "checkpoint", tmp_path / name, seed), torch.float32
        ).state_dict()
        for name, seed in (("one", 0), ("again", 0), ("other", 1))
    )
    kept = {name for name in trained if torch.equal(one[name], trained[name])}
    assert all(torch.equal(one[name], again[name]) for name in trained)
    parts = ("llm", "mm_projector", "mm_vision_tower")
    assert {name for name in trained if name.split(".")[1] in parts} <= kept
    # Of the expert only norms and biases are as they were: those that all networks begin with.
    forgotten = {name for name in trained if not torch.equal(one[name], other[name])}
    matrices = {name for name in trained if "action_" in name and trained[name].ndim > 1}
    assert forgotten == matrices


def test_a_recording_that_does_not_fit_is_refused_and_kept(plan):
    from support.ablation_run import record

    wrong = replace(plan, recorded=5, data=plan.recording)
    with pytest.raises(Dm0Error, match=r"no recording of .* with 5 episodes"):
        record(wrong, 1, quiet)
    assert (plan.recording / "pictures.npy").exists()


def test_trials_share_scenes_and_differ_in_words(plan):
    from support.ablation_cells import is_held_out
    from support.ablation_trials import choose_trials

    world = load_world("three_blocks")
    trials = choose_trials(replace(plan, episodes=6), world, 1)
    seen = [trial for kind, _, trial in trials if kind == "seen"]
    new = [trial for kind, _, trial in trials if kind == "new"]
    assert [(t.target, t.scene) for t in seen] == [(t.target, t.scene) for t in new]
    assert [t.target for t in seen] == [*world.object_names] * 2
    assert len({t.scene for t in seen}) == 6
    for trial in seen:
        assert not is_held_out(trial.instruction, trial.target)
    for trial in new:
        assert is_held_out(trial.instruction, trial.target)
