# SPDX-License-Identifier: Apache-2.0
"""DM0, a vision-language-action model, on real robots through ROS 2.

The rooms and the rules between them are in docs/architecture.md.
"""

import pkgutil

# The generated interfaces (dm0_ros.msg, dm0_ros.action) may lie on another entry of sys.path.
__path__ = pkgutil.extend_path(__path__, __name__)
