# SPDX-License-Identifier: Apache-2.0
"""Everything that defines one training run, read from config/training/<name>.yaml."""

from dataclasses import dataclass
from pathlib import Path

from dm0_ros.errors import Dm0Error
from dm0_ros.model import DM0Config
from dm0_ros.model.config import DecoderConfig, VisionConfig
from dm0_ros.policy.normalisation import Normalisation
from dm0_ros.policy.pictures import PadColour
from dm0_ros.resources import find_resource
from dm0_ros.robots.parsing import load_yaml
from dm0_ros.scaffold.settings import ScaffoldSettings
from dm0_ros.training.place import PlaceSettings
from dm0_ros.training.reach import ReachSettings, Region


class RecipeError(Dm0Error):
    """A training recipe is missing or contradicts itself."""


@dataclass(frozen=True)
class DataSettings:
    """How many episodes the expert performs, and what is kept of them."""

    episodes: int
    frames: int
    frame_interval: float  # s
    disturbance: float  # rad
    start_at_home: float  # share


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


@dataclass(frozen=True)
class Recipe:
    """One training run."""

    name: str
    robot: str
    layout: str
    world: str  # file stem in config/worlds/
    task: str  # name of one of the world's tasks
    workspace: dict[str, Region]  # where the expert's fingertips may be, by end effector
    data: DataSettings
    expert: ReachSettings
    step: float  # s between rows
    normalisation: Normalisation
    max_text_tokens: int
    picture_pad: PadColour
    masked_slots: tuple[str, ...]  # cameras that the network does without
    network: NetworkSettings
    optimiser: OptimiserSettings
    place: PlaceSettings | None = None  # what the expert needs for a task of kind place
    executed_rows: int | None = None  # that a plan is followed for before the next one, at least
    initial: str | None = None  # checkpoint whose weights and tokenizer training starts from
    scaffold: ScaffoldSettings | None = None  # what the checkpoint says before it acts


def load_recipe(name_or_path: str | Path) -> Recipe:
    """The recipe ``config/training/<name>.yaml``, or the YAML file at that path.

    Raises `RecipeError` that names the file and the key where something is wrong.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = find_resource("config", f"training/{name_or_path}.yaml")
    return load_yaml(Recipe, path, RecipeError)
