# SPDX-License-Identifier: Apache-2.0
"""Raw pictures lost between two processes: Fast DDS as it comes, and with config/fastdds.xml.

Three cameras of 640x480 rgb8 at 30 Hz, best effort, as camera drivers send them.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import rclpy
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from support.record import make_parser, report, summarise

from dm0_ros.nodes.stamps import read_clock, to_seconds, to_time

PROFILE = Path(__file__).resolve().parents[1] / "config" / "fastdds.xml"
# A profile that changes nothing: where none is named, .venv's Python selects ours.
PLAIN = """<dds xmlns="http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles"><profiles>
<participant profile_name="plain" is_default_profile="true"><rtps/></participant>
</profiles></dds>"""
CAMERAS, RATE, SIZE = 3, 30.0, (640, 480)


def send(count: int) -> None:
    """Publish ``count`` pictures of each camera, once someone listens to all."""
    node = Node("sender")
    topics = [f"camera/view_{k}/image_raw" for k in range(CAMERAS)]
    publishers = [node.create_publisher(Image, t, qos_profile_sensor_data) for t in topics]
    while not all(publisher.get_subscription_count() for publisher in publishers):
        rclpy.spin_once(node, timeout_sec=0.05)
    width, height = SIZE
    image = Image(width=width, height=height, encoding="rgb8", step=3 * width)
    image.data.frombytes(os.urandom(3 * width * height))
    due = time.monotonic()
    for _ in range(count):
        due += 1 / RATE
        time.sleep(max(0.0, due - time.monotonic()))
        for publisher in publishers:
            image.header.stamp = to_time(read_clock(node.get_clock()))
            publisher.publish(image)
    time.sleep(1.0)  # what is under way must arrive before the writers go
    node.destroy_node()


def receive(count: int) -> dict:
    """Count what arrives and how old it is, ms."""
    node = Node("receiver")
    ages: list[float] = []

    def take(message: Image) -> None:
        ages.append(1e3 * (read_clock(node.get_clock()) - to_seconds(message.header.stamp)))

    for k in range(CAMERAS):
        node.create_subscription(
            Image, f"camera/view_{k}/image_raw", take, qos_profile_sensor_data
        )
    end = time.monotonic() + count / RATE + 6.0
    while len(ages) < CAMERAS * count and time.monotonic() < end:
        rclpy.spin_once(node, timeout_sec=0.05)
    node.destroy_node()
    return {"received": len(ages), "age_ms": summarise(ages)}


def measure(profile: Path | None, count: int) -> dict:
    """Run both ends as processes of their own, with that profile or none."""
    environment = {
        **os.environ,
        "ROS_DOMAIN_ID": "97",
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    }
    with tempfile.NamedTemporaryFile("w", suffix=".xml") as plain:
        plain.write(PLAIN)
        plain.flush()
        environment["FASTRTPS_DEFAULT_PROFILES_FILE"] = str(profile or plain.name)
        return run_both(environment, count)


def run_both(environment: dict[str, str], count: int) -> dict:
    """Sender and receiver in that environment, and what came of it."""
    command = [sys.executable, __file__, "--count", str(count), "--end"]
    receiver = subprocess.Popen([*command, "receive"], env=environment, stdout=subprocess.PIPE)
    sender = subprocess.Popen([*command, "send"], env=environment)
    output, _ = receiver.communicate(timeout=count / RATE + 60)
    sender.wait(timeout=30)
    found = json.loads(output)
    sent = CAMERAS * count
    lost = 100 * (sent - found["received"]) / sent
    return {"sent": sent, "lost_percent": round(lost, 1), **found}


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--count", type=int, default=240, help="pictures of each camera")
    parser.add_argument("--end", choices=["both", "send", "receive"], default="both")
    options = parser.parse_args()
    if options.end == "both":
        figures = {
            "fast_dds_default": measure(None, options.count),
            "config_fastdds_xml": measure(PROFILE, options.count),
        }
        report("picture_transport", figures, options.write)
        return
    rclpy.init()
    if options.end == "send":
        send(options.count)
    else:
        sys.stdout.write(json.dumps(receive(options.count)))
    rclpy.shutdown()


if __name__ == "__main__":
    main()
