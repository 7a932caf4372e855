# SPDX-License-Identifier: Apache-2.0
"""The DM0 network in plain torch: arrays in, arrays out."""

from dm0_ros.model.config import DecoderConfig, DM0Config, VisionConfig
from dm0_ros.model.dm0 import DM0
from dm0_ros.model.prefix import PrefixCache

__all__ = ["DM0", "DM0Config", "DecoderConfig", "PrefixCache", "VisionConfig"]
