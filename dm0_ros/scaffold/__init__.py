# SPDX-License-Identifier: Apache-2.0
"""What the robot thinks, made visible: drawing now; the reasoning text later."""
