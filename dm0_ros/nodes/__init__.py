# SPDX-License-Identifier: Apache-2.0
"""The ROS side: one file per node, each a thin shell round a plain class.

Only this room and launch/ import rclpy or message packages.
"""
