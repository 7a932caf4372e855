# SPDX-License-Identifier: Apache-2.0
"""Real DDS, but no one else's: a domain of this test process, this machine only, our profile."""

from pathlib import Path

import domain_coordinator
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session", autouse=True)
def own_domain(tmp_path_factory):
    """Set the environment that this process and its children start ROS with."""
    with domain_coordinator.domain_id() as domain, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_DOMAIN_ID", str(domain))
        patch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        patch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", str(ROOT / "config/fastdds.xml"))
        patch.setenv("ROS_LOG_DIR", str(tmp_path_factory.mktemp("ros_log")))
        # of whoever runs the tests; our nodes must not inherit them
        for name in ("ROS_LOCALHOST_ONLY", "ROS_STATIC_PEERS", "ROS_DISCOVERY_SERVER"):
            patch.delenv(name, raising=False)
        yield domain


@pytest.fixture
def graph(own_domain):
    """A node of the test's own, and processes that end with the test."""
    from harness import Graph  # imports rclpy, which reads the environment set above

    graph = Graph()
    yield graph
    graph.close()
