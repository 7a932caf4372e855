# SPDX-License-Identifier: Apache-2.0
"""Base motion and goals: houses, shortest ways, ObjectNav, heads and the controller of a base."""
