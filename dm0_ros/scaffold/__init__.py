# SPDX-License-Identifier: Apache-2.0
"""What the robot says before it acts: the text, what it means, and how it is drawn."""
