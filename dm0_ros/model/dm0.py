# SPDX-License-Identifier: Apache-2.0
"""DM0: a vision-language-action network. Pictures and text in, a chunk of actions out.

Two transformer streams share one attention. The prefix (pictures, text) is read once, causally;
the suffix (one token per action row) integrates a flow field from noise to actions, attending to
the prefix's keys and values. Written from facts/dm0_model.md, sections A and B. Numbers in,
numbers out: no robot, no files but checkpoints, no ROS.

B is the batch, V the views, T the text length, H the chunk's rows, D the action width.
"""

from __future__ import annotations

from os import PathLike

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dm0_ros.model import checkpoint, flow
from dm0_ros.model.config import DM0Config
from dm0_ros.model.guidance import Commitment, Guidance, integrate
from dm0_ros.model.initialise import initialise
from dm0_ros.model.inputs import check_flow, check_inputs, check_progress
from dm0_ros.model.precision import rounds_rope
from dm0_ros.model.prefix import PrefixCache, make_cache, order_valid, pick
from dm0_ros.model.rotary import Rope, sequence_table
from dm0_ros.model.transformer import Decoder
from dm0_ros.model.vision import VisionTower


class Network(nn.Module):
    """The parameters under the names of public checkpoints; `DM0` says what is done with them."""

    def __init__(self, config: DM0Config) -> None:
        super().__init__()
        wide, narrow = config.llm.hidden_size, config.expert.hidden_size
        self.mm_vision_tower = nn.ModuleDict(
            {"vision_tower": VisionTower(config.vision, config.rounded_rope)}
        )
        self.mm_projector = nn.Linear(4 * config.vision.width, wide, config.projector_bias)
        self.llm = Decoder(config.llm, embeddings=True)
        self.action_expert = nn.ModuleDict({"model": Decoder(config.expert, embeddings=False)})
        self.action_in_proj = nn.Linear(config.action_dim, narrow)
        self.action_time_mlp_in = nn.Linear(2 * narrow, narrow)
        self.action_time_mlp_out = nn.Linear(narrow, narrow)
        self.action_out_proj = nn.Linear(narrow, config.action_dim)
        if config.progress:
            self.progress_in_proj = nn.Linear(1, narrow)
            self.progress_out_proj = nn.Linear(narrow, 1)


class DM0(nn.Module):
    """The network at any size. `DM0(config)` has random weights, ready to be trained."""

    def __init__(self, config: DM0Config) -> None:
        super().__init__()
        self.config = config
        self.model = Network(config)
        self._table: Rope | None = None
        initialise(self.model, config.llm.num_hidden_layers)

    @classmethod
    def from_pretrained(
        cls,
        path: str | PathLike[str],
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
        progress: bool | None = None,
    ) -> DM0:
        """Loads a checkpoint: config.json and safetensors, one file or shards.

        Args:
            path: a folder, a repository on the Hugging Face hub (OWNER/NAME), or a short name in
                config/checkpoints.yaml, the last two also with @REVISION. What is not on this
                machine yet is downloaded.
            dtype: float32, bfloat16, or None for what config.json's `bf16` says. In bfloat16 the
                norms of the residual streams and the action heads stay float32, as in the
                reference (facts: dm0_model.md, B.3).
            device: where the weights go.
            progress: whether to build the progress head; None follows config.json. Generalist
                checkpoints hold its weights though their config does not say so.

        Raises:
            CheckpointError: it cannot be had, is incomplete, damaged or of another architecture;
                all faults are named at once.
        """
        return checkpoint.load(cls, path, dtype, torch.device(device), progress)

    def save_pretrained(self, path: str | PathLike[str]) -> None:
        """Writes config.json and model.safetensors into the folder `path`, all or nothing."""
        checkpoint.save(self, path)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.action_in_proj.weight.device

    def encode_pictures(self, pictures: Tensor) -> Tensor:
        """Pictures (N, 3, S, S) in [-1, 1] -> tokens of the language model (N, n, hidden)."""
        return self.model.mm_projector(self.model.mm_vision_tower["vision_tower"](pictures))

    def encode_prefix(
        self,
        images: Tensor,
        image_masks: Tensor,
        token_ids: Tensor,
        token_mask: Tensor,
        want_hidden: bool = False,
    ) -> PrefixCache:
        """Reads observations once. Masked views and padding are dropped, never computed.

        Args:
            images: (B, V, 3, S, S) in [-1, 1]. image_masks: bool (B, V).
            token_ids: (B, T). token_mask: bool (B, T), True where a token is valid.
                With (B * Q, T), each observation's pictures serve Q texts in a row, and are
                encoded once; B * Q observations come out.
            want_hidden: also give the prefix's normed output, which text generation needs.
        """
        check_inputs(self.config, images, image_masks, token_ids, token_mask)
        image_masks, token_mask = image_masks.bool(), token_mask.bool()
        text = self.model.llm.embed_tokens(token_ids.masked_fill(~token_mask, 0))
        batch, views = image_masks.shape
        count = self.config.vision.tokens
        seen = text.new_zeros(batch, views, count, text.shape[-1])
        if bool(image_masks.any()):
            seen[image_masks] = self.encode_pictures(images[image_masks]).to(text.dtype)
        texts = len(token_ids) // batch
        seen = seen.flatten(1, 2).repeat_interleave(texts, 0)
        there = image_masks.repeat_interleave(count, 1).repeat_interleave(texts, 0)
        valid = torch.cat((there, token_mask), 1)
        order, lengths = order_valid(valid)
        x = pick(torch.cat((seen, text), 1), order)
        longest, following = x.shape[1], self.config.chunk_size + 1
        cos, sin = table = self.rope_table(longest + following, x)
        layers, hidden = self.model.llm.encode(x, (cos[:longest], sin[:longest]), want_hidden)
        return make_cache(layers, lengths, table, following, hidden)

    def velocity(
        self, cache: PrefixCache, x_t: Tensor, time: Tensor, progress: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """The flow field at the noisy actions x_t.

        Args:
            cache: of B observations. x_t: (B, H, D). time: (B,) or (), 1 is noise; or (B, H), with
                a time for each row.
            progress: (B, 1, 1) or (B, 1) or (B,), the task's progress now (progress models only).

        Returns:
            Velocity (B, H, D), and the progress predicted for the chunk's end, (B, 1, 1), or None.
        """
        if progress is not None:
            progress = check_progress(self.config, progress, len(cache))
        return self._field(cache, x_t, time, progress)

    @torch.no_grad()
    def sample_actions(
        self,
        images: Tensor,
        image_masks: Tensor,
        token_ids: Tensor,
        token_mask: Tensor,
        noise: Tensor | None = None,
        steps: int = 10,
        progress: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Actions for B observations, by `steps` Euler steps from noise.

        Args:
            images ... token_mask: see `encode_prefix`.
            noise: (B, H, D) to start from; None draws it from torch's generator.
            progress: (B, 1, 1) in [0, 1]; held constant while integrating.

        Returns:
            Normalised actions (B, H, D), float32; with `progress` given, also the least progress
            that any step predicted for the chunk's end, (B, 1, 1).
        """
        cache = self.encode_prefix(images, image_masks, token_ids, token_mask)
        return self.integrate(cache, noise, steps, progress)

    @torch.no_grad()
    def integrate(
        self,
        cache: PrefixCache,
        noise: Tensor | None = None,
        steps: int = 10,
        progress: Tensor | None = None,
        guidance: Guidance = Guidance.NONE,
        commitment: Commitment | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """The second half of `sample_actions`, from an encoded prefix; see `model.guidance`."""
        shape = (len(cache), self.config.chunk_size, self.config.action_dim)
        if noise is None:
            noise = torch.randn(shape, device=self.device)
        if tuple(noise.shape) != shape:
            raise ValueError(f"noise has shape {tuple(noise.shape)}; it must be {shape}")
        if progress is not None:
            progress = check_progress(self.config, progress, len(cache))
        times = flow.euler_times(steps)
        moments = times.to(self.device)

        def field(x: Tensor, step: int, clean: Tensor | None) -> tuple[Tensor, Tensor | None]:
            time = moments[step]
            time = time if clean is None else torch.where(clean, 0.0, time)
            return self._field(cache, x, time, progress)

        x, least = integrate(noise.float(), times.tolist(), field, guidance, commitment)
        return x if progress is None else (x, least)

    def flow_loss(
        self,
        images: Tensor,
        image_masks: Tensor,
        token_ids: Tensor,
        token_mask: Tensor,
        actions: Tensor,
        noise: Tensor,
        time: Tensor,
        progress: Tensor | None = None,
        progress_target: Tensor | None = None,
        progress_weight: float = 1.0,
        decouple: bool = False,
        cache: PrefixCache | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Mean squared error of the predicted velocity over all H x D entries, and that velocity.

        With noise (B, K, H, D) and time (B, K), K noise samples share one reading of each
        observation, which costs far less than K observations.

        Args:
            images ... token_mask: see `encode_prefix`. actions: (B, H, D), normalised.
            noise: (B, H, D) or (B, K, H, D). time: (B,) or (B, K), in (0, 1].
            progress, progress_target: (B, 1, 1), (B, 1) or (B,): the task's progress now and at
                the chunk's end. The target adds `progress_weight` times the squared error of the
                progress head. That term is ours: the training of public progress models is
                unpublished.
            decouple: keep the gradient out of vision tower and language model.
            cache: of these observations, where the caller has read them already.

        Returns:
            Scalar loss, and velocity of noise's shape.
        """
        repeats = noise.shape[1] if noise.ndim == 4 else 1
        check_flow(self.config, actions, noise, time)
        if cache is None:
            cache = self.encode_prefix(images, image_masks, token_ids, token_mask)
        cache = (cache.detach() if decouple else cache).repeat(repeats)
        if progress is not None:
            progress = check_progress(self.config, progress, len(actions))
            progress = progress.repeat_interleave(repeats, 0)
        start = actions[:, None] if noise.ndim == 4 else actions
        x_t, target = flow.interpolate(start, noise, time)
        x_t = x_t.reshape(-1, *x_t.shape[-2:])
        velocity, end = self._field(cache, x_t, time.flatten(), progress)
        velocity = velocity.view(noise.shape)
        loss = F.mse_loss(velocity, target.to(velocity.dtype))
        if progress_target is None:
            return loss, velocity
        if end is None:
            raise ValueError("progress_target needs progress, the task's progress now")
        wanted = check_progress(self.config, progress_target, len(actions))
        wanted = wanted.repeat_interleave(repeats, 0)
        return loss + progress_weight * F.mse_loss(end, wanted.to(end)), velocity

    def _field(
        self, cache: PrefixCache, x_t: Tensor, time: Tensor, progress: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """`velocity`, with what is given known to fit."""
        net, width = self.model, self.config.expert.hidden_size
        tokens = net.action_in_proj(x_t.to(net.action_in_proj.weight.dtype))
        if progress is not None:
            first = net.progress_in_proj(progress.to(tokens))
            tokens = torch.cat((first, tokens), 1)
        moments = flow.assign_times(time.to(self.device), progress is not None)
        waves = flow.embed_time(moments, width).to(tokens.dtype)
        mixed = torch.cat((tokens, waves.expand(*tokens.shape[:2], width)), -1)
        x = net.action_time_mlp_out(F.silu(net.action_time_mlp_in(mixed)))
        count = x.shape[1]
        rope = (cache.rope[0][:, :, :count], cache.rope[1][:, :, :count])
        expert = net.action_expert["model"]
        out = expert.attend(x, rope, cache.layers, cache.suffix_mask(count))
        velocity = net.action_out_proj(out[:, -self.config.chunk_size :])
        return velocity, None if progress is None else net.progress_out_proj(out[:, :1])

    def rope_table(self, length: int, like: Tensor) -> Rope:
        """At least `length` rows of the streams' table, in dtype and on the device of `like`."""
        kept = self._table
        if (
            kept is None
            or len(kept[0]) < length
            or kept[0].dtype != like.dtype
            or kept[0].device != like.device
        ):
            llm, rounded = self.config.llm, rounds_rope(self.config.rounded_rope, like.dtype)
            # A table made in inference mode could never be trained with.
            with torch.inference_mode(False):
                table = sequence_table(2 * length, llm.head_dim, llm.rope_theta, rounded)
                self._table = tuple(part.to(like.device, like.dtype) for part in table)
        return self._table
