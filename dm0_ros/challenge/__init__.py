# SPDX-License-Identifier: Apache-2.0
"""RoboChallenge's Table30: its job client, a mock of its platform, and published scores."""
