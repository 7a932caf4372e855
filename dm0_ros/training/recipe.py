# SPDX-License-Identifier: Apache-2.0
"""Everything that defines one training run, read from config/training/<name>.yaml."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from dm0_ros.errors import Dm0Error
from dm0_ros.model import DM0Config
from dm0_ros.model.config import DecoderConfig, VisionConfig
from dm0_ros.navigation.pursuit import PursuitSettings
from dm0_ros.policy.normalisation import Normalisation
from dm0_ros.policy.pictures import PadColour
from dm0_ros.resources import find_config
from dm0_ros.robots.marks import Section
from dm0_ros.robots.parsing import build, read_yaml
from dm0_ros.scaffold.levels import Level
from dm0_ros.scaffold.settings import ScaffoldSettings
from dm0_ros.training.place import PlaceSettings
from dm0_ros.training.reach import ReachSettings, Region
from dm0_ros.training.sources.augmentation import AugmentationSettings
from dm0_ros.training.sources.discrete import DiscreteSettings
from dm0_ros.training.sources.sample import SourceError
from dm0_ros.training.sources.settings import SourceKind, SourceSettings

NOTHING = "none"
"""In the place of a level: no text, and not even the cue for it."""


class RecipeError(Dm0Error):
    """A training recipe is missing or contradicts itself."""


@dataclass(frozen=True)
class StreamSettings:
    """Width of one transformer stream."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int


@dataclass(frozen=True)
class NetworkSettings:
    """Size of the network; what both streams share is said once."""

    vision: VisionConfig
    llm: StreamSettings
    expert: StreamSettings
    layers: int
    heads: int
    key_value_heads: int
    head_dim: int
    rope_theta: float
    action_dim: int
    chunk_size: int
    progress: bool = False  # whether it has a progress head

    def config(self) -> DM0Config:
        """The network's config.json."""
        return DM0Config(
            vision=self.vision,
            llm=self._stream(self.llm),
            expert=self._stream(self.expert),
            action_dim=self.action_dim,
            chunk_size=self.chunk_size,
            progress=self.progress,
            bf16=False,
        )

    def _stream(self, stream: StreamSettings) -> DecoderConfig:
        return DecoderConfig(
            vocab_size=stream.vocab_size,
            hidden_size=stream.hidden_size,
            intermediate_size=stream.intermediate_size,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.key_value_heads,
            head_dim=self.head_dim,
            rope_theta=self.rope_theta,
        )


@dataclass(frozen=True)
class OptimiserSettings:
    """AdamW with warm-up and a cosine, and a running mean of the weights.

    A recipe may name a `stage`, a file in config/training/stages/, and say only what differs.
    """

    steps: int
    batch: int  # frames
    noise_samples: int
    outline_rows: tuple[int, ...]  # of the chunk, that the prefix alone learns to foretell
    outline_weight: float
    learning_rate: float
    warm_up: float  # share of the steps
    final_rate: float  # of the learning rate, at the end of the cosine
    weight_decay: float
    clip: float  # norm of the gradient
    average: float  # decay of the weights' running mean, which is what is saved; 0: no mean
    save_every: int  # steps
    scaled_rates: bool = True  # whether rates fall with fan-in, see training/calibration.py
    epsilon: float = 1e-8  # of AdamW
    recompute: bool = False  # layers in the backward pass, for want of memory


@dataclass(frozen=True)
class HybridSettings:
    """How text and actions are learnt together. Raises `RecipeError` where values contradict."""

    decouple: bool = True  # the expert's gradient stays out of language model and vision tower
    text_weight: float = 1.0
    progress_weight: float = 1.0
    # How often, relative to each other, the expert sees the text up to a level; `NOTHING` is
    # neither it nor the cue. Empty: always all of it.
    shown: dict[str, float] = field(default_factory=dict)
    stale: float = 0.0  # share of samples in which it sees an older text, and none is learnt
    stale_frames: int = 1  # that this text is older by, at most

    def __post_init__(self) -> None:
        known = [NOTHING, *(level.value for level in Level)]
        for name, weight in self.shown.items():
            if name not in known:
                raise RecipeError(f"is no level; write {', '.join(known)}", key=("shown", name))
            if weight < 0:
                raise RecipeError(f"is {weight}; it cannot be negative", key=("shown", name))
        if self.shown and not sum(self.shown.values()):
            raise RecipeError("has no weight above zero", key=("shown",))
        if not 0 <= self.stale <= 1:
            raise RecipeError(f"is {self.stale}; it is a share, 0 to 1", key=("stale",))
        if self.stale_frames < 1:
            raise RecipeError(f"is {self.stale_frames}; at least 1", key=("stale_frames",))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What every training run has, whatever it trains."""

    name: str
    robot: str
    layout: str
    step: float  # s between rows
    normalisation: Normalisation
    max_text_tokens: int
    picture_pad: PadColour
    masked_slots: tuple[str, ...]  # cameras that the network does without
    network: NetworkSettings
    optimiser: OptimiserSettings
    executed_rows: int | None = None  # that a plan is followed for before the next one, at least
    initial: str | None = None  # checkpoint whose weights and tokenizer training starts from
    scaffold: ScaffoldSettings | None = None  # what the checkpoint says before it acts
    hybrid: HybridSettings | None = None  # how text is learnt beside actions

    def __post_init__(self) -> None:
        levels = self.scaffold.levels if self.scaffold else ()
        for name in self.hybrid.shown if self.hybrid else ():
            if name not in (NOTHING, *levels):
                message = "is no level of 'scaffold'; leave it out"
                raise RecipeError(message, key=("hybrid", "shown", name))

    @property
    def teaching(self) -> HybridSettings | None:
        """How text is learnt; None where it is not. Scaffolds are, whether that is said or not."""
        return self.hybrid or (HybridSettings() if self.scaffold else None)


@dataclass(frozen=True)
class EpisodeData:
    """How many episodes the expert performs, and what is kept of them."""

    episodes: int
    frames: int
    frame_interval: float  # s
    disturbance: float  # rad
    start_at_home: float  # share


@dataclass(frozen=True, kw_only=True)
class ArmRecipe(Recipe):
    """A run that learns from an expert with arms, at a table with objects."""

    world: str  # file stem in config/worlds/
    task: str  # name of one of the world's tasks
    workspace: dict[str, Region]  # where the expert's fingertips may be, by end effector
    data: EpisodeData
    expert: ReachSettings
    place: PlaceSettings | None = None  # what the expert needs for a task of kind place


@dataclass(frozen=True)
class DriveData:
    """Which poses the guide is asked about."""

    frames: int
    on_way: float  # share of the frames that lie along a way, the others lie anywhere
    at_end: float  # share of those along a way that lie at its end
    stray: float  # m, standard deviation of the distance from the way
    swerve: float  # rad, standard deviation of the heading from the way's
    clearance: float  # m that ways keep from obstacles, beside the base's radius
    reach: float  # m from the object at which ways end at the latest


@dataclass(frozen=True, kw_only=True)
class DrivingRecipe(Recipe):
    """A run that learns from a guide through a house how to drive a base to what is named."""

    world: str  # file stem in config/worlds/
    task: str
    data: DriveData
    pursuit: PursuitSettings

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scaffold:
            raise RecipeError("drives have no truth to learn it from", key=("scaffold",))


@dataclass(frozen=True, kw_only=True)
class SourceRecipe(Recipe):
    """A run that goes on from a checkpoint with data of one's own, see docs/training_data.md.

    ``robot`` and ``layout`` are those that the new checkpoint is for.
    """

    sources: tuple[SourceSettings, ...]
    longest_answer: int = 256  # tokens
    loaders: int = 0  # processes that make batches ahead; 0: none
    wordings: str | None = None  # file stem in config/training/wordings/
    augmentation: AugmentationSettings | None = None
    discrete: DiscreteSettings | None = None  # actions in words, where a robot's data have none

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.initial is None:
            message = "is missing: data of one's own are learnt on top of a checkpoint; name it"
            raise RecipeError(message, key=("initial",))
        if self.optimiser.outline_rows:
            message = "is for recordings of the simulator alone; leave it empty"
            raise RecipeError(message, key=("optimiser", "outline_rows"))
        hybrid = self.hybrid or HybridSettings()
        if self.scaffold or hybrid.shown or hybrid.stale:
            message = "has scaffolds, but answers of sources are theirs: leave those keys out"
            raise RecipeError(message, key=("hybrid",))
        self._check_discrete()
        self.require_teacher(source.kind is SourceKind.DEXDATA for source in self.sources)

    @property
    def teaching(self) -> HybridSettings:
        """How text is learnt, where a source has any."""
        return self.hybrid or HybridSettings()

    def _check_discrete(self) -> None:
        if self.discrete is None:
            return
        try:
            self.discrete.require_rows(self.network.chunk_size)
        except SourceError as flaw:
            raise RecipeError(flaw.args[0], key=("discrete", *flaw.key)) from flaw

    def require_teacher(self, talking: Iterable[bool]) -> None:
        """Raises `RecipeError` where nothing teaches language model and vision tower.

        ``talking`` says of each source whether it has text; it is asked only if need be.
        """
        if self.teaching.decouple and self.discrete is None and not any(talking):
            raise RecipeError(
                "is true, so actions do not teach language model and vision tower, and no source "
                "has text that could; write 'decouple: false', or add 'discrete' or questions",
                key=("hybrid", "decouple"),
            )


_KINDS = {"pursuit": DrivingRecipe, "sources": SourceRecipe}


def load_recipe(name_or_path: str | Path) -> ArmRecipe | DrivingRecipe | SourceRecipe:
    """The recipe ``config/training/<name>.yaml``, or the YAML file at that path.

    One that says how a way is pursued is for a base; one with sources records nothing. Raises
    `RecipeError` that names the file and the key where something is wrong.
    """
    content = read_yaml(find_config(name_or_path, "training"), RecipeError)
    _insert_stage(content)
    kinds = [kind for key, kind in _KINDS.items() if key in content]
    return build(kinds[0] if kinds else ArmRecipe, content, RecipeError)


def _insert_stage(content: Section) -> None:
    """Put what a named stage says below what the optimiser's section says itself."""
    own = content.get("optimiser")
    if not isinstance(own, Section) or "stage" not in own:
        return
    stage = read_yaml(find_config(f"stages/{own.pop('stage')}", "training"), RecipeError)
    for key, value in stage.items():
        if key not in own:
            own[key], own.lines[key] = value, own.lines["stage"]
