# SPDX-License-Identifier: Apache-2.0
"""Data from a scripted expert, and the training of a DM0 on it."""
