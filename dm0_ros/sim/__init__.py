# SPDX-License-Identifier: Apache-2.0
"""MuJoCo worlds that answer to the same commands, and give the same data, as a real robot."""

import os

# MuJoCo picks its GL library at import. A robot's computer may have no display; EGL needs none.
os.environ.setdefault("MUJOCO_GL", "egl")
