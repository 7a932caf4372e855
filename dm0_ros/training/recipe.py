# SPDX-License-Identifier: Apache-2.0
"""Everything that defines one training run, read from config/training/<name>.yaml."""

from dataclasses import dataclass
from pathlib import Path

from dm0_ros.errors import Dm0Error
from dm0_ros.model import DM0Config
from dm0_ros.model.config import DecoderConfig, VisionConfig
from dm0_ros.navigation.pursuit import PursuitSettings
from dm0_ros.policy.normalisation import Normalisation
from dm0_ros.policy.pictures import PadColour
from dm0_ros.resources import find_config
from dm0_ros.robots.parsing import build, read_yaml
from dm0_ros.scaffold.settings import ScaffoldSettings
from dm0_ros.training.place import PlaceSettings
from dm0_ros.training.reach import ReachSettings, Region


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

    def config(self) -> DM0Config:
        """The network's config.json."""
        return DM0Config(
            vision=self.vision,
            llm=self._stream(self.llm),
            expert=self._stream(self.expert),
            action_dim=self.action_dim,
            chunk_size=self.chunk_size,
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
    """AdamW with warm-up and a cosine, and a running mean of the weights."""

    steps: int
    batch: int  # frames
    noise_samples: int
    outline_rows: tuple[int, ...]  # of the chunk, that the prefix alone learns to foretell
    outline_weight: float
    learning_rate: float
    warm_up: float
    final_rate: float
    weight_decay: float
    clip: float
    average: float
    save_every: int


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What every training run has, whatever it trains."""

    name: str
    robot: str
    layout: str
    world: str  # file stem in config/worlds/
    task: str  # name of one of the world's tasks
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

    data: DriveData
    pursuit: PursuitSettings


def load_recipe(name_or_path: str | Path) -> ArmRecipe | DrivingRecipe:
    """The recipe ``config/training/<name>.yaml``, or the YAML file at that path.

    One that says how a way is pursued is for a base. Raises `RecipeError` that names the file and
    the key where something is wrong.
    """
    content = read_yaml(find_config(name_or_path, "training"), RecipeError)
    return build(DrivingRecipe if "pursuit" in content else ArmRecipe, content, RecipeError)
