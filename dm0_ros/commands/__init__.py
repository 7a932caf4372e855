# SPDX-License-Identifier: Apache-2.0
"""What the subcommands of `dm0` do, one module each."""
