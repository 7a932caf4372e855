# SPDX-License-Identifier: Apache-2.0
"""Training data on disk as samples, streamed. See docs/training_data.md."""
