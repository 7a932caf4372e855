# SPDX-License-Identifier: Apache-2.0
"""The reference implementation of DM0, run on one of our networks' weights, to compare with.

It comes from a checkout of github.com/dexmal/dexbotic (tried: 932192c) and is called, never
copied. Its own requirements are heavy; DM0 alone needs einops, and a transformers of its time:

    pip install --target build/reference transformers==4.53.3 einops
    PYTHONPATH=build/reference python benchmarks/model_exactness.py --against PATH
"""

from __future__ import annotations

import importlib
import sys
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, nn

from dm0_ros.errors import Dm0Error
from dm0_ros.model import DM0, DM0Config

OLDEST, NEWEST = (4, 51), (4, 55)
"""Of transformers: Qwen3 came with the one, what the reference reads of its cache went after the
other (facts: performance.md, 0.3)."""

REMEDY = (
    "run `pip install --target build/reference transformers==4.53.3 einops` and start Python with "
    "PYTHONPATH=build/reference"
)


class ReferenceModel:
    """The reference's network with the weights of one of ours, and its sampler.

    Plain or with progress, on the device of `model`; in float32, or, where the matrices of `model`
    are bfloat16, in the reference's own mixture of both. Tensors of a fitting dtype are shared
    with `model`, so that both find room beside each other.
    """

    def __init__(self, path: str | Path, model: DM0) -> None:
        """`path` of the checkout. Raises `Dm0Error` where it cannot run here, and says why."""
        _check_transformers()
        config = model.config
        bf16 = model.model.mm_projector.weight.dtype == torch.bfloat16
        with _kept_settings():
            kind = _import(Path(path).expanduser().resolve(), config.progress)
            self.network = _build(kind, config, bf16)
        _load(self.network, model, bf16)
        self.network.eval()
        self.config = config
        self._check_sight()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.network.model.action_in_proj.weight.device

    def to(self, device: torch.device | str) -> ReferenceModel:
        """Moves the weights; each keeps its dtype."""
        self.network.to(device)
        return self

    @torch.no_grad()
    def sample(
        self,
        images: Tensor,
        image_masks: Tensor,
        token_ids: Tensor,
        token_mask: Tensor,
        noise: Tensor,
        steps: int = 10,
        progress: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """What `DM0.sample_actions` gives, from the same arguments, by the reference's code."""
        device = self.device
        given = {} if progress is None else {"progress": progress.to(device).float()}
        start = noise.to(device, torch.float32)
        with mock.patch.object(torch, "normal", lambda *_, **__: start.clone()):
            return self.network.inference_action(
                input_ids=token_ids.to(device),
                attention_mask=token_mask.to(device).bool(),
                states=start.new_zeros(len(start), self.config.action_dim),
                images=images.to(device),
                image_masks=image_masks.to(device).bool(),
                diffusion_steps=steps,
                **given,
            )

    def picture_tokens(self, pictures: Tensor) -> Tensor:
        """What `DM0.encode_pictures` gives."""
        with torch.no_grad():
            return self.network.encode_images(pictures.to(self.device))

    def _check_sight(self) -> None:
        """Refuses a reference that ignores its prefix, which it does without a word."""
        config, device = self.config, self.device
        size = config.vision.image_size
        random = torch.Generator().manual_seed(0)
        picture = torch.rand(1, 1, 3, size, size, generator=random).to(device) * 2 - 1
        noise = torch.randn(1, config.chunk_size, config.action_dim, generator=random)
        words = torch.ones(1, 4, dtype=torch.long), torch.ones(1, 4, dtype=torch.bool)
        there = torch.ones(1, 1, dtype=torch.bool)
        one, other = (
            self.sample(seen, there, *words, noise, steps=1) for seen in (picture, -picture)
        )
        if torch.equal(one, other):
            raise Dm0Error(
                f"the reference ignores its pictures with transformers {version('transformers')}; "
                + REMEDY
            )


def _check_transformers() -> None:
    try:
        found = version("transformers")
    except PackageNotFoundError as cause:
        raise Dm0Error(f"the reference needs transformers; {REMEDY}") from cause
    if not OLDEST <= tuple(int(part) for part in found.split(".")[:2]) <= NEWEST:
        raise Dm0Error(
            f"the reference runs with transformers {OLDEST[0]}.{OLDEST[1]} to "
            f"{NEWEST[0]}.{NEWEST[1]}, found {found}: from 4.56 on it ignores pictures and text "
            f"without a word; {REMEDY}"
        )


def _import(path: Path, progress: bool) -> type:
    """The class of the reference's network, from the checkout and from nowhere else."""
    if not (path / "dexbotic" / "model" / "dm0" / "dm0_arch.py").is_file():
        raise Dm0Error(
            f"{path} is no checkout of dexmal/dexbotic: it has no dexbotic/model/dm0; run "
            "`git clone https://github.com/dexmal/dexbotic` and give its folder"
        )
    if str(path) not in sys.path:
        sys.path.insert(0, str(path))
    try:
        module = importlib.import_module("dexbotic.model.dm0")
    except ImportError as cause:
        raise Dm0Error(f"the reference cannot be imported ({cause}); {REMEDY}") from cause
    if not Path(module.__file__).is_relative_to(path):
        raise Dm0Error(f"another dexbotic was imported, {module.__file__}; start Python anew")
    return module.DM0ProgForCausalLM if progress else module.DM0ForCausalLM


@contextmanager
def _kept_settings():
    """Building the reference switches TensorFloat-32 on for the process; the caller decides."""
    before = torch.get_float32_matmul_precision()
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _build(kind: type, config: DM0Config, bf16: bool) -> nn.Module:
    """The reference's network without memory: parameters and tables are on the meta device."""
    from transformers.modeling_utils import no_init_weights

    encoder = importlib.import_module("dexbotic.model.modules.mm_vision.pe.pe_encoder")
    known = encoder.get_config("pe_lang_l14_728")
    size = replace(known, **asdict(config.vision))
    values = kind.config_class(
        llm_config={"model_type": "qwen3", **asdict(config.llm)},
        action_config={"model_type": "qwen3", **asdict(config.expert)},
        action_dim=config.action_dim,
        chunk_size=config.chunk_size,
        bf16=bf16,
        mm_vision_tower="pe_lang_l14_728",
        mm_projector_type="linear4x",
        projector_bias=config.projector_bias,
    )
    with (
        mock.patch.object(encoder, "get_config", lambda name: size),
        no_init_weights(),
        torch.device("meta"),
    ):
        network = kind(values)
    # Heads that no action depends on, and that our checkpoints may lack.
    network.lm_head = network.model.action_expert.lm_head = nn.Identity()
    return network


def _load(network: nn.Module, model: DM0, bf16: bool) -> None:
    """Our weights under the same names, and the tables that are no weights, made anew."""
    network.load_state_dict(model.state_dict(), strict=True, assign=True)
    device = model.device
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child).__name__ == "Qwen3RotaryEmbedding":
                setattr(parent, name, type(child)(child.config, device=device))
            elif type(child).__name__ == "Rope2D":
                sizes = ("dim", "max_grid_height", "max_grid_width", "use_cls_token")
                made = type(child)(**{size: getattr(child, size) for size in sizes})
                setattr(parent, name, made.to(device))
    if bf16:
        with torch.no_grad():
            network.model.to_bfloat16_for_selected_params()
    left = [
        name
        for name, tensor in (*network.named_parameters(), *network.named_buffers())
        if tensor.is_meta
    ]
    if left:
        raise Dm0Error(f"the reference has tensors that ours lacks: {', '.join(left[:5])}")
