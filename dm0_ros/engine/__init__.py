# SPDX-License-Identifier: Apache-2.0
"""The DM0 network made fast: fused weights, static caches, captured graphs. Oracle: `model`."""
