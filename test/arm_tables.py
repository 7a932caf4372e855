# SPDX-License-Identifier: Apache-2.0
"""Forward kinematics of the shipped arms from the makers' figures, without their URDFs.

Denavit-Hartenberg parameters where the maker publishes them, else the places and directions of the
joints at zero (product of exponentials). Lengths m, angles rad.
"""

import numpy as np

QUARTER = np.pi / 2
X, Y, Z = np.eye(3)

# Craig's convention: (a, alpha) before (d, offset of theta); what comes behind the last joint.
FRANKA = (
    (
        (0.0, 0.0, 0.333, 0.0),
        (0.0, -QUARTER, 0.0, 0.0),
        (0.0, QUARTER, 0.316, 0.0),
        (0.0825, QUARTER, 0.0, 0.0),
        (-0.0825, -QUARTER, 0.384, 0.0),
        (0.0, QUARTER, 0.0, 0.0),
        (0.088, QUARTER, 0.0, 0.0),
    ),
    0.107,
)
# piper_sdk in mm and degrees, with the offset of 2 degrees of newer firmware
PIPER = (
    tuple(
        (a / 1e3, np.radians(alpha), d / 1e3, np.radians(theta))
        for a, alpha, d, theta in (
            (0.0, 0.0, 123.0, 0.0),
            (0.0, -90.0, 0.0, -172.22),
            (285.03, 0.0, 0.0, -102.78),
            (-21.98, 90.0, 250.75, 0.0),
            (0.0, -90.0, 0.0, 0.0),
            (0.0, 90.0, 91.0, 0.0),
        )
    ),
    0.0,
)

# The classic convention: (d, theta) before (a, alpha).
UR5 = (
    (0.089159, 0.0, QUARTER),
    (0.0, -0.425, 0.0),
    (0.0, -0.39225, 0.0),
    (0.10915, 0.0, QUARTER),
    (0.09465, 0.0, -QUARTER),
    (0.0823, 0.0, 0.0),
)
UR5E = (
    (0.1625, 0.0, QUARTER),
    (0.0, -0.425, 0.0),
    (0.0, -0.3922, 0.0),
    (0.1333, 0.0, QUARTER),
    (0.0997, 0.0, -QUARTER),
    (0.0996, 0.0, 0.0),
)

# At zero: direction and a point of each joint's axis; then where the tip is, which is not turned.
X5 = (
    (
        (Z, (0.0, 0.0, 0.0)),
        (Y, (0.02, 0.0, 0.1005)),
        (-Y, (-0.244, 0.0, 0.1005)),
        (-Y, (0.001, 0.0, 0.1565)),
        (-Z, (0.06675, 0.001, 0.239)),
        (X, (0.0952, 0.001, 0.1565)),
    ),
    (0.2402, 0.001, 0.1565),
)
L5 = (
    (
        (Z, (0.0, 0.0, 0.0)),
        (Y, (0.02, 0.0, 0.1035)),
        (-Y, (-0.244, 0.0, 0.1035)),
        (-Y, (0.001, 0.0, 0.1635)),
        (-Z, (0.06875, 5e-5, 0.25)),
        (X, (0.0977, 5e-5, 0.1635)),
    ),
    (0.2527, 5e-5, 0.1635),
)
VIPERX = (
    (
        (Z, (0.0, 0.0, 0.0)),
        (Y, (0.0, 0.0, 0.12705)),
        (Y, (0.05955, 0.0, 0.42705)),
        (X, (0.0, 0.0, 0.42705)),
        (Y, (0.35955, 0.0, 0.42705)),
        (X, (0.0, 0.0, 0.42705)),
    ),
    (0.536494, 0.0, 0.42705),
)


def turn(axis, angle):
    """Rotation (3, 3) about a unit vector (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def screw(axis, angle, length):
    """Rotation about a unit vector and translation along it, as a matrix (4, 4)."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn(axis, angle), np.multiply(axis, length)
    return matrix


def by_modified_parameters(table, angles):
    rows, flange = table
    pose = np.eye(4)
    for (a, alpha, d, offset), theta in zip(rows, angles, strict=True):
        pose = pose @ screw(X, alpha, a) @ screw(Z, theta + offset, d)
    return pose @ screw(Z, 0.0, flange)


def by_classic_parameters(rows, angles):
    # base_link is the controller's base, turned half around
    pose = screw(Z, np.pi, 0.0)
    for (d, a, alpha), theta in zip(rows, angles, strict=True):
        pose = pose @ screw(Z, theta, d) @ screw(X, alpha, a)
    return pose


def by_axes(table, angles):
    axes, tip = table
    pose = np.eye(4)
    pose[:3, 3] = tip
    for (axis, point), angle in zip(axes[::-1], angles[::-1], strict=True):
        moved = np.eye(4)
        moved[:3, :3] = turn(axis, angle)
        moved[:3, 3] = point - moved[:3, :3] @ point
        pose = moved @ pose
    return pose


# robot -> how, and from what
TABLES = {
    "franka": (by_modified_parameters, FRANKA),
    "panda": (by_modified_parameters, FRANKA),
    "ur5": (by_classic_parameters, UR5),
    "ur5e": (by_classic_parameters, UR5E),
    "arx5": (by_axes, X5),
    "arx5_l5": (by_axes, L5),
    "aloha": (by_modified_parameters, PIPER),
    "aloha_viperx": (by_axes, VIPERX),
}


def pose_from_table(robot, angles):
    """Pose (4, 4) of the robot's tip in its base; of one arm, where there are two alike."""
    how, table = TABLES[robot]
    return how(table, angles)
