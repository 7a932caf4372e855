# SPDX-License-Identifier: Apache-2.0
"""LIBERO: its observation and action contract, its suites, and one of our own that needs nobody.

Without ROS and torch.
"""

import dm0_ros.sim  # noqa: F401  which chooses how MuJoCo draws, before MuJoCo is imported
