# SPDX-License-Identifier: Apache-2.0
"""Bags to training data and back: episodes at one rate, cut from what was recorded."""
