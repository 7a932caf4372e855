# SPDX-License-Identifier: Apache-2.0
"""What a user may choose about the fast network."""

from __future__ import annotations

from dataclasses import dataclass

from dm0_ros.errors import Dm0Error
from dm0_ros.model.guidance import Guidance

GRAPH_BUCKET = 16
"""Text is padded to a multiple of this where each length costs a capture."""


@dataclass(frozen=True)
class EngineOptions:
    """How a network is run. None means: the best that this machine has, found out at load."""

    steps: int = 10  # of the Euler integration
    text_limit: int = 256  # tokens of prompt and generated text together
    text_bucket: int | None = None  # text is padded to a multiple, which one graph then serves
    guidance: Guidance = Guidance.NONE  # toward what a request says is committed
    reuse: bool = True  # the keys and values of leading views that did not change
    graphs: bool = True  # CUDA graphs, on devices that have them
    compiled: bool = False  # torch.compile of each kind of layer; takes minutes at load
    attention: str | None = None  # a name of `engine.attention`, for all attention without a mask
    kernels: bool | None = None  # the Triton kernels of the action expert
    fp8: bool = (
        False  # 8-bit products in vision tower and language model: changes actions a little
    )

    def __post_init__(self) -> None:
        for name in ("steps", "text_limit", "text_bucket"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise Dm0Error(f"{name} is {value}; it must be at least 1")
        if self.text_limit % (self.text_bucket or GRAPH_BUCKET):
            raise Dm0Error(
                f"text_limit {self.text_limit} must be a multiple of text_bucket "
                f"{self.text_bucket or GRAPH_BUCKET}"
            )
