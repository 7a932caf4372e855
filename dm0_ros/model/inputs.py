# SPDX-License-Identifier: Apache-2.0
"""Checks of what is fed to the network, before a wrong shape becomes a wrong action."""

from __future__ import annotations

from torch import Tensor

from dm0_ros.errors import ObservationError
from dm0_ros.model.config import DM0Config


def check_inputs(
    config: DM0Config, images: Tensor, image_masks: Tensor, token_ids: Tensor, token_mask: Tensor
) -> None:
    """Refuses inputs that do not fit each other or the network.

    Raises:
        ObservationError: it says which input is wrong and what it should be.
    """
    size = config.vision.image_size
    if images.ndim != 5 or tuple(images.shape[2:]) != (3, size, size):
        raise ObservationError(
            f"images have shape {tuple(images.shape)}; it must be (B, V, 3, {size}, {size})"
        )
    if tuple(image_masks.shape) != tuple(images.shape[:2]):
        raise ObservationError(
            f"image_masks have shape {tuple(image_masks.shape)}; for these images it must be "
            f"{tuple(images.shape[:2])}"
        )
    if token_ids.ndim != 2 or not len(images) or len(token_ids) % len(images):
        raise ObservationError(
            f"token_ids have shape {tuple(token_ids.shape)}; it must be ({len(images)}, T), or "
            "several texts for each observation"
        )
    if token_mask.shape != token_ids.shape:
        raise ObservationError(
            f"token_mask has shape {tuple(token_mask.shape)}, token_ids {tuple(token_ids.shape)}; "
            "they must be equal"
        )
    pictured = image_masks.bool().any(1).repeat_interleave(len(token_ids) // len(images))
    if not bool((pictured | token_mask.bool().any(1)).all()):
        raise ObservationError("an observation has neither a valid picture nor a valid token")
    used = token_ids.masked_select(token_mask.bool())
    vocabulary = config.llm.vocab_size
    if used.numel() and not 0 <= int(used.min()) <= int(used.max()) < vocabulary:
        raise ObservationError(
            f"token ids run from {int(used.min())} to {int(used.max())}, the network knows 0 to "
            f"{vocabulary - 1}: use the tokenizer that came with the checkpoint"
        )


def check_progress(config: DM0Config, progress: Tensor, batch: int) -> Tensor:
    """Progress as (B, 1, 1).

    Raises:
        ObservationError: the network has no progress head, or the shape does not fit.
    """
    if not config.progress:
        raise ObservationError(
            "progress was given, but this network has no progress head (model_type dexbotic_dm0)"
        )
    if progress.numel() != batch or len(progress) != batch:
        raise ObservationError(
            f"progress has shape {tuple(progress.shape)}; it must be ({batch}, 1, 1)"
        )
    return progress.reshape(batch, 1, 1)


def check_flow(config: DM0Config, actions: Tensor, noise: Tensor, time: Tensor) -> None:
    """Refuses training inputs whose shapes do not fit; see `DM0.flow_loss`."""
    rows = (config.chunk_size, config.action_dim)
    found = tuple(actions.shape)
    if len(found) != 3 or found[1:] != rows:
        raise ValueError(f"actions have shape {found}; it must be (B, {rows[0]}, {rows[1]})")
    if noise.ndim not in (3, 4) or (len(noise), *noise.shape[-2:]) != found:
        raise ValueError(
            f"noise has shape {tuple(noise.shape)}; for actions {found} it must be the same, or "
            "(B, K, H, D)"
        )
    if time.shape != noise.shape[:-2]:
        raise ValueError(
            f"time has shape {tuple(time.shape)}; for this noise it must be "
            f"{tuple(noise.shape[:-2])}"
        )
