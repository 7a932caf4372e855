# SPDX-License-Identifier: Apache-2.0
"""What a graph says, told to rerun's viewer: cameras, scaffolds, plans, joints, times. No ROS."""
