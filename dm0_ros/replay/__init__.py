# SPDX-License-Identifier: Apache-2.0
"""Bags in, evaluation out: what was recorded, how well it went, a report of it. No ROS."""
