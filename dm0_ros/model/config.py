# SPDX-License-Identifier: Apache-2.0
"""The sizes of a DM0 network, read from a checkpoint's config.json."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from dm0_ros.errors import CheckpointError

PLAIN = "dexbotic_dm0"
PROGRESS = "dexbotic_dm0_prog"


@dataclass(frozen=True)
class VisionConfig:
    """Size of the Perception Encoder. Pictures are square: `image_size` pixels a side."""

    image_size: int
    patch_size: int
    width: int
    layers: int
    heads: int
    mlp_ratio: float = 4.0

    @property
    def grid(self) -> int:
        """Patches along one side of a picture."""
        return self.image_size // self.patch_size

    @property
    def tokens(self) -> int:
        """Tokens of one view, after two convolutions of stride 2."""
        return (((self.grid + 1) // 2 + 1) // 2) ** 2


# Towers that public config.json files name without giving their size.
NAMED_TOWERS = {"pe_lang_l14_728": VisionConfig(728, 14, 1024, 23, 16, 4.0)}


@dataclass(frozen=True)
class DecoderConfig:
    """Size of one Qwen3 stream; field names are those of a Qwen3 config.json."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    rope_theta: float = 1_000_000.0
    rms_norm_eps: float = 1e-6


@dataclass(frozen=True)
class DM0Config:
    """Size of a whole DM0: vision tower, language model and action expert.

    `progress` says whether the network has the progress token and head of DM0-Prog.
    `rounded_rope` says whether rotary tables start from frequencies (and, in the vision tower,
    angles) rounded to bfloat16; None does as the reference, which rounds them when it runs in
    bfloat16. Which of the two public checkpoints were trained with is not known.
    `extra` keeps the fields of config.json that this code does not read, so that saving a
    loaded checkpoint loses nothing.
    """

    vision: VisionConfig
    llm: DecoderConfig
    expert: DecoderConfig
    action_dim: int = 32
    chunk_size: int = 50
    progress: bool = False
    bf16: bool = True
    projector_bias: bool = False
    rounded_rope: bool | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise CheckpointError(f"DM0 config: {problem}")

    def _problem(self) -> str | None:
        vision, llm, expert = self.vision, self.llm, self.expert
        for name in ("num_hidden_layers", "num_attention_heads", "num_key_value_heads",
                     "head_dim", "rope_theta"):  # fmt: skip
            if getattr(llm, name) != getattr(expert, name):
                return (
                    f"{name} is {getattr(llm, name)} in llm_config and {getattr(expert, name)} in "
                    "action_config; both streams share one attention, so it must be the same"
                )
        if llm.num_attention_heads % llm.num_key_value_heads:
            return "num_attention_heads must be a multiple of num_key_value_heads"
        if llm.head_dim % 2 or expert.hidden_size % 2:
            return "head_dim and the expert's hidden_size must be even"
        if vision.image_size % vision.patch_size:
            return f"image_size {vision.image_size} is no multiple of patch {vision.patch_size}"
        if vision.width % (vision.heads * 4):
            return f"vision width {vision.width} must be a multiple of 4 x {vision.heads} heads"
        return None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DM0Config:
        """Reads a public config.json; `vision_config` and `rounded_rope` are fields of ours."""
        values = dict(values)
        kind = values.pop("model_type", None)
        if kind not in (PLAIN, PROGRESS):
            raise CheckpointError(
                f"model_type is {kind!r}; DM0 checkpoints say {PLAIN!r} or {PROGRESS!r}"
            )
        return cls(
            vision=_vision(values),
            llm=_section(DecoderConfig, "llm_config", values.pop("llm_config", None)),
            expert=_section(DecoderConfig, "action_config", values.pop("action_config", None)),
            action_dim=_number("action_dim", values.pop("action_dim", 32), int),
            chunk_size=_number("chunk_size", values.pop("chunk_size", 50), int),
            progress=kind == PROGRESS,
            bf16=bool(values.pop("bf16", True)),
            projector_bias=bool(values.pop("projector_bias", False)),
            rounded_rope=_switch("rounded_rope", values.pop("rounded_rope", None)),
            extra=values,
        )

    def to_dict(self) -> dict[str, Any]:
        """The content of config.json; `from_dict` reads it back to an equal config."""
        return {
            "model_type": PROGRESS if self.progress else PLAIN,
            "architectures": ["DM0ProgForCausalLM" if self.progress else "DM0ForCausalLM"],
            "mm_projector_type": "linear4x",
            "mm_vision_tower": _tower_name(self.vision),
            **{name: value for name, value in self.extra.items() if name != "architectures"},
            "action_dim": self.action_dim,
            "chunk_size": self.chunk_size,
            "bf16": self.bf16,
            "projector_bias": self.projector_bias,
            **({} if self.rounded_rope is None else {"rounded_rope": self.rounded_rope}),
            "vision_config": asdict(self.vision),
            "llm_config": asdict(self.llm),
            "action_config": asdict(self.expert),
        }


def read_config(folder: Path) -> DM0Config:
    """Reads `folder`/config.json. A comma before a closing brace, as in DM0-base, is forgiven."""
    path = folder / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{path} is missing: {folder} is not a DM0 checkpoint folder")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}); copy the checkpoint again"
        ) from error
    try:
        values = _parse(text)
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}; copy it again") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} holds no JSON object; copy it again")
    try:
        return DM0Config.from_dict(values)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return json.loads(re.sub(r",(\s*[}\]])", r"\1", text))


def _vision(values: dict[str, Any]) -> VisionConfig:
    given = values.pop("vision_config", None)
    if given is not None:
        return _section(VisionConfig, "vision_config", given)
    tower = values.get("mm_vision_tower")
    if tower not in NAMED_TOWERS:
        raise CheckpointError(
            f"mm_vision_tower {tower!r} is unknown (known: {', '.join(NAMED_TOWERS)}); "
            "give its size as vision_config"
        )
    return NAMED_TOWERS[tower]


def _tower_name(vision: VisionConfig) -> str:
    return next((name for name, size in NAMED_TOWERS.items() if size == vision), "pe_custom")


def _section(kind: type, name: str, values: Any) -> Any:
    if not isinstance(values, Mapping):
        raise CheckpointError(f"{name} must be an object with the sizes of that part")
    values = dict(values)
    # transformers 5 moved rope_theta into rope_parameters.
    rope = values.get("rope_parameters")
    if isinstance(rope, Mapping) and "rope_theta" in rope:
        values.setdefault("rope_theta", rope["rope_theta"])
    types = {"mlp_ratio": float, "rope_theta": float, "rms_norm_eps": float}
    known = {
        item.name: _number(f"{name}.{item.name}", values[item.name], types.get(item.name, int))
        for item in fields(kind)
        if item.name in values
    }
    needed = [item.name for item in fields(kind) if item.default is MISSING]
    missing = [item for item in needed if item not in known]
    if missing:
        raise CheckpointError(f"{name} lacks {', '.join(missing)}")
    return kind(**known)


def _switch(name: str, value: Any) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise CheckpointError(f"{name} must be true, false or null, not {value!r}")
    return value


def _number(name: str, value: Any, kind: type) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise CheckpointError(f"{name} must be a positive number, not {value!r}")
    if kind is int and value != int(value):
        raise CheckpointError(f"{name} must be a whole number, not {value!r}")
    return kind(value)
