# SPDX-License-Identifier: Apache-2.0
"""MuJoCo worlds that answer to the same commands, and give the same data, as a real robot."""
