# SPDX-License-Identifier: Apache-2.0
"""Who publishes a topic that must have one publisher."""

from rclpy.node import Node
from rclpy.subscription import Subscription


def find_rivals(node: Node, subscription: Subscription) -> str:
    """A sentence that names all publishers of a subscription's topic, or '' for one or none."""
    topic = subscription.topic_name
    if node.count_publishers(topic) < 2:
        return ""
    found = node.get_publishers_info_by_topic(topic)
    names = ", ".join(sorted(f"{i.node_namespace.rstrip('/')}/{i.node_name}" for i in found))
    return (
        f"{topic} has {len(found)} publishers ({names}); end all but one (a process that was "
        "killed counts until its DDS lease ends, 20 s by default)"
    )
