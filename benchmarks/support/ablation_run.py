# SPDX-License-Identifier: Apache-2.0
"""One cell of the ablation: trained, asked and let loose, in a folder that remembers all of it.

Whatever is finished is read from there; a run that was killed goes on with its latest training
state and its next episode.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from support.ablation_cells import (
    CELLS,
    HELD_OUT,
    Cell,
    cell_recipe,
    first_recipe,
    trunk_recipe,
)
from support.ablation_data import QuestionDataset, SplitDataset
from support.ablation_folder import (
    check_settings,
    claim,
    read_result,
    write_result,
)
from support.ablation_trials import Report, act
from support.questions import answer_questions, choose_questions

from dm0_ros.errors import Dm0Error
from dm0_ros.model import DM0
from dm0_ros.policy.tokenizer import load_tokenizer
from dm0_ros.training.dataset import Recording
from dm0_ros.training.hybrid_data import HybridDataset
from dm0_ros.training.recipe import ArmRecipe, load_recipe
from dm0_ros.training.recording import is_recorded, load_episodes, record_episodes
from dm0_ros.training.run import write_checkpoint
from dm0_ros.training.trainer import Trainer
from dm0_ros.training.vocabulary import copy_tokenizer, save_tokenizer, train_tokenizer

RECIPE = Path(__file__).resolve().parents[1] / "ablation.yaml"
_DATA_SEED = _TRUNK_SEED = 0
_EXPERT = ("model.action_", "model.progress_")  # begins of names of what only actions need
_FRAMES_OF_WORDS = 200  # whose questions the tokenizer learns its words from
# What results depend on, beside recipe and seed.
_FIRST_KEYS = ("trunk_steps", "frames")
_CELL_KEYS = ("trunk_steps", "first_steps", "frames", "episodes", "period", "time_limit")


@dataclass(frozen=True)
class Plan:
    """How much of everything. What is equal in all cells of a table."""

    out: Path
    steps: int
    trunk_steps: int
    first_steps: int
    recorded: int  # episodes
    episodes: int  # of each kind, in closed loop
    frames: int  # that are asked about
    period: float  # s between plans
    time_limit: float  # s
    data: Path | None = None  # a recording that there is already

    @property
    def recipe(self) -> ArmRecipe:
        """What the cells have in common."""
        base = load_recipe(RECIPE)
        return replace(
            base,
            data=replace(base.data, episodes=self.recorded),
            optimiser=replace(base.optimiser, steps=self.steps),
        )

    @property
    def recording(self) -> Path:
        """Where the recording is, or will be."""
        return self.data or self.out / "data"

    @property
    def trunk(self) -> Path:
        """Folder of what all seeds begin with."""
        return self.out / "trunk"

    def folder(self, name: str, seed: int) -> Path:
        """Of a cell, or of the stage before: `first`."""
        return self.out / f"{name}-seed{seed}"

    def load(self) -> Recording:
        """The recording."""
        return load_episodes(self.recipe, self.recording)


def record(plan: Plan, workers: int, report: Report) -> None:
    """The recording that all cells learn from, unless there is one.

    One that was given with ``data`` is never touched: `Dm0Error` where it is not what is needed.
    """
    if plan.data is None:

        def tell(done: int, of: int) -> None:
            if done % 100 == 0 or done == of:
                report(f"recorded {done} of {of}")

        record_episodes(plan.recipe, _DATA_SEED, plan.recording, workers, tell)
    elif not is_recorded(plan.recipe, _DATA_SEED, plan.data):
        raise Dm0Error(
            f"{plan.data} is no recording of {RECIPE.name} with {plan.recorded} episodes and seed "
            f"{_DATA_SEED}: leave out --data, and one will be made"
        )


def run_trunk(plan: Plan, report: Report) -> dict:
    """Teach a network from noise to act, once: what is to DM0 its pretrained language model."""
    recipe, folder = trunk_recipe(plan.recipe, plan.trunk_steps), plan.trunk
    with claim(folder):
        if done := _begin(plan, folder, recipe, ()):
            return done
        checkpoint, recording = folder / "checkpoint", plan.load()
        _write_words(plan.recipe, recording, checkpoint)
        dataset = SplitDataset(recipe, recording)
        times = _learn(recipe, dataset, folder, _TRUNK_SEED, None, report)
        return write_result(folder, {"cell": "trunk", "seconds": times})


def run_first(plan: Plan, seed: int, report: Report) -> dict:
    """Teach the trunk to answer, too: where all cells of a seed begin."""
    folder = plan.folder("first", seed)
    recipe = first_recipe(plan.recipe, plan.first_steps)
    if read_result(plan.trunk) is None:
        raise Dm0Error(f"{plan.trunk} is not finished, and all else begins where it ends")
    with claim(folder):
        return _begin(plan, folder, recipe, _FIRST_KEYS) or _run_first(
            plan, recipe, seed, folder, report
        )


def _run_first(plan: Plan, recipe: ArmRecipe, seed: int, folder: Path, report: Report) -> dict:
    checkpoint, recording = folder / "checkpoint", plan.load()
    questions = QuestionDataset(recipe, recording, plan.recipe.scaffold.view)
    trunk = plan.trunk / "checkpoint"
    copy_tokenizer(trunk, checkpoint)
    times = _learn(recipe, questions, folder, seed, trunk, report)
    answers = ask(plan, questions, checkpoint)
    return write_result(
        folder, {"cell": "first", "seed": seed, "seconds": times, "answers": answers}
    )


def run_cell(plan: Plan, cell: Cell, seed: int, report: Report) -> dict:
    """Teach what the cell says, then see what it does and what is left of the answers."""
    folder, first = plan.folder(cell.name, seed), plan.folder("first", seed) / "checkpoint"
    recipe = cell_recipe(plan.recipe, cell)
    if read_result(first.parent) is None:
        raise Dm0Error(f"{first.parent} is not finished, and {cell.name} begins where it ends")
    with claim(folder):
        done = _begin(plan, folder, recipe, _CELL_KEYS)
        return done or _run_cell(plan, cell, recipe, seed, folder, report)


def _run_cell(
    plan: Plan, cell: Cell, recipe: ArmRecipe, seed: int, folder: Path, report: Report
) -> dict:
    first = plan.folder("first", seed) / "checkpoint"
    checkpoint, recording = folder / "checkpoint", plan.load()
    copy_tokenizer(first, checkpoint)
    start = renew_expert(first, folder / "start", seed)
    times = _learn(recipe, SplitDataset(recipe, recording), folder, seed, start, report)
    questions = QuestionDataset(recipe, recording, plan.recipe.scaffold.view)
    answers = ask(plan, questions, checkpoint)
    begin = time.process_time()
    episodes = act(plan, recipe, seed, folder, report)
    times["acting_cpu"] = round(time.process_time() - begin, 1)
    return write_result(
        folder,
        {
            "cell": cell.name,
            "seed": seed,
            "seconds": times,
            "answers": answers,
            "episodes": episodes,
        },
    )


def renew_expert(checkpoint: Path, folder: Path, seed: int) -> Path:
    """Put a trained trunk beside an action expert that knows nothing, the same for every cell.

    The trunk of the stages before has learnt by acting, and an expert that has learnt with it
    leaves nothing that a text could be good for.
    """
    torch.manual_seed(seed)
    model = DM0.from_pretrained(checkpoint, torch.float32)
    new = {k: v for k, v in DM0(model.config).state_dict().items() if k.startswith(_EXPERT)}
    model.load_state_dict(model.state_dict() | new)
    model.save_pretrained(folder)
    return folder


def ask(plan: Plan, questions: QuestionDataset, checkpoint: Path) -> list[dict]:
    """Answers about frames that were never seen; the same questions for everyone."""
    model, tokenizer = DM0.from_pretrained(checkpoint, torch.float32), load_tokenizer(checkpoint)
    model.eval()
    random, found = np.random.default_rng(_DATA_SEED), []
    for frame in questions.unseen_frames(plan.frames):
        chosen = choose_questions(questions.questions(frame), random)
        images, seen = questions.show(frame)
        answers = answer_questions(
            model, images, seen, chosen, tokenizer, questions.recipe.max_text_tokens
        )
        found += [{"frame": int(frame), **answer} for answer in answers]
    return found


def _learn(
    recipe: ArmRecipe,
    dataset: HybridDataset,
    folder: Path,
    seed: int,
    initial: Path | None,
    report: Report,
) -> dict[str, float]:
    """Train to the recipe's last step, write the checkpoint, and say what it took."""
    checkpoint, stats = folder / "checkpoint", dataset.stats()
    tokenizer = load_tokenizer(checkpoint)
    trainer = Trainer(recipe, dataset, tokenizer, stats, folder, seed, initial=initial)
    first, begin, cpu = trainer.step, time.perf_counter(), time.process_time()

    def tell(step: int, losses: dict[str, float]) -> None:
        if step % 50 == 0 or step == recipe.optimiser.steps:
            numbers = "  ".join(f"{name} {loss:.3f}" for name, loss in losses.items())
            report(f"{folder.name}: step {step}  {numbers}")

    network = trainer.run(tell)
    write_checkpoint(recipe, network, stats, checkpoint)
    return {
        "steps_timed": trainer.step - first,
        "training": round(time.perf_counter() - begin, 1),
        "training_cpu": round(time.process_time() - cpu, 1),
    }


def _write_words(recipe: ArmRecipe, recording: Recording, folder: Path) -> None:
    """The tokenizer of all cells: the same for the same recording."""
    spoken = SplitDataset(recipe, recording)
    questions = QuestionDataset(recipe, recording, recipe.scaffold.view)
    frames = np.linspace(0, spoken.train_size - 1, _FRAMES_OF_WORDS).astype(int)
    asked = [question for frame in frames for question in questions.questions(frame)]
    sentences = spoken.sentences() + [question.text for question in asked]
    answers = spoken.answers(spoken.stats()) + [question.answer for question in asked]
    size = recipe.network.llm.vocab_size
    save_tokenizer(train_tokenizer(sentences, size, answers), folder)


def _begin(plan: Plan, folder: Path, recipe: ArmRecipe, keys: Sequence[str]) -> dict | None:
    """The result, where there is one. Raises `Dm0Error` where the folder is of another run."""
    settings = {key: getattr(plan, key) for key in keys}
    check_settings(folder, {**settings, "held_out": HELD_OUT, "recipe": asdict(recipe)})
    (folder / "checkpoint").mkdir(exist_ok=True)
    return read_result(folder)


def read_results(plan: Plan, seeds: Sequence[int]) -> list[dict]:
    """Of all that is finished. Raises `Dm0Error` where some of it was made otherwise."""
    if read_result(plan.trunk):
        _begin(plan, plan.trunk, trunk_recipe(plan.recipe, plan.trunk_steps), ())
    runs = [("first", first_recipe(plan.recipe, plan.first_steps), _FIRST_KEYS)]
    runs += [(cell.name, cell_recipe(plan.recipe, cell), _CELL_KEYS) for cell in CELLS]
    folders = [(plan.folder(name, seed), *rest) for seed in seeds for name, *rest in runs]
    return [_begin(plan, folder, *rest) for folder, *rest in folders if read_result(folder)]
