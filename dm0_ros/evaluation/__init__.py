# SPDX-License-Identifier: Apache-2.0
"""Bags through policies, and figures, comparisons and reports of what came of it."""
