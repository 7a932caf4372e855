# SPDX-License-Identifier: Apache-2.0
"""Time from an observation to a plan, without ROS: the network of a checkpoint on this machine."""

import itertools

from support.observations import make_observations
from support.record import make_parser, report, summarise

from dm0_ros.policy.registry import load_policy
from dm0_ros.robots.loading import load_robot

STAGES = ("preprocessing", "prefix", "reasoning", "flow", "total")


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--checkpoint", default="dm0-nano")
    parser.add_argument("--robot", default="franka")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: its own choice")
    parser.add_argument("--count", type=int, default=100, help="plans, after ten to warm up")
    options = parser.parse_args()
    import torch

    if options.threads:
        torch.set_num_threads(options.threads)
    robot = load_robot(options.robot)
    policy = load_policy(options.checkpoint, robot, device=options.device)
    observations = itertools.islice(make_observations(policy.spec, robot), 4)
    turns = itertools.islice(itertools.cycle(observations), options.count + 10)
    latencies = [policy.infer(observation).latency for observation in turns][10:]
    figures = {
        "checkpoint": policy.spec.name,
        "device": options.device,
        "threads": torch.get_num_threads(),
        "cameras": list(policy.spec.camera_slots),
        "ms": {s: summarise([getattr(latency, s) for latency in latencies]) for s in STAGES},
    }
    report("policy_latency", figures, options.write)


if __name__ == "__main__":
    main()
