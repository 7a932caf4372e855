# SPDX-License-Identifier: Apache-2.0
"""The pose controller that LIBERO's actions go to: operational space control.

Khatib (1987), https://doi.org/10.1109/JRA.1987.1087068, with the gains, scales and order of
robosuite 1.4's OSC_POSE: a goal every 0.05 s, relative to where the hand is by then, and torques
every physics step that pull the hand there like a critically damped spring, whatever its inertia.
"""

import mujoco
import numpy as np

from dm0_ros.libero.contract import ROTATION, TRANSLATION, rotation_matrix

_STIFFNESS = 150.0  # 1/s2, of translation and rotation
_DAMPING = 2.0 * np.sqrt(_STIFFNESS)  # 1/s
_POSTURE_STIFFNESS = 10.0  # 1/s2, of what the hand does not feel, towards the initial posture
_POSTURE_DAMPING = 2.0 * np.sqrt(_POSTURE_STIFFNESS)


class PoseController:
    """Torques for an arm whose actuators are servos no more. Of one model and its data."""

    def __init__(
        self, model: mujoco.MjModel, data: mujoco.MjData, joints: tuple[str, ...], hand: str,
        grip: float,
    ) -> None:  # fmt: skip
        """``grip`` m from the frame of link ``hand`` along its z axis is the point that moves."""
        self._model, self._data = model, data
        self._hand, self._grip = model.body(hand).id, grip
        self._addresses = np.array([model.joint(name).qposadr[0] for name in joints])
        self._rates = np.array([model.joint(name).dofadr[0] for name in joints])
        self._motors = np.array([model.actuator(name).id for name in joints])
        # From servos to motors: force = ctrl.
        model.actuator_gainprm[self._motors] = 0.0
        model.actuator_gainprm[self._motors, 0] = 1.0
        model.actuator_biasprm[self._motors] = 0.0
        self._units = np.eye(model.nv)[self._rates]
        self._products = np.zeros((len(joints), model.nv))
        self._jacobian = np.zeros((6, model.nv))
        self.reset()

    @property
    def position(self) -> np.ndarray:
        """Of the point between the fingers (3,), m in the simulator's frame."""
        return self._data.xpos[self._hand] + self._grip * self._turn[:, 2]

    @property
    def quaternion(self) -> np.ndarray:
        """Of the hand (4,), x y z w."""
        return np.roll(self._data.xquat[self._hand], -1)

    @property
    def _turn(self) -> np.ndarray:
        return self._data.xmat[self._hand].reshape(3, 3)

    def reset(self) -> None:
        """Stay here; this posture is the one to come back to."""
        self._posture = self._data.qpos[self._addresses].copy()
        self._goal, self._goal_turn = self.position.copy(), self._turn.copy()

    def set_goal(self, inputs: np.ndarray) -> None:
        """Go from here by six inputs in [-1, 1]: 0.05 m and 0.5 rad about fixed axes at most.

        Without a rotation, the orientation that was asked for before stays the goal.
        """
        self._goal = self.position + TRANSLATION * inputs[:3]
        if np.any(np.abs(inputs[3:6]) > 1e-9):
            self._goal_turn = rotation_matrix(ROTATION * inputs[3:6]) @ self._turn

    def apply(self) -> None:
        """Put the torques of this physics step into the data."""
        jacobian, velocity = self._move()
        mass = self._weigh()
        inverse = np.linalg.inv(mass)
        error = np.concatenate([self._goal - self.position, self._turn_error()])
        wanted = _STIFFNESS * error - _DAMPING * (jacobian @ velocity)
        # Translation and rotation are decoupled: each feels its own inertia.
        wrench = [
            _inertia(part, inverse) @ want
            for part, want in zip(np.split(jacobian, 2), np.split(wanted, 2), strict=True)
        ]
        torques = jacobian.T @ np.concatenate(wrench)
        torques = torques + self._hold_posture(jacobian, mass, inverse, velocity)
        bias = self._data.qfrc_bias - self._data.qfrc_gravcomp
        self._data.ctrl[self._motors] = torques + bias[self._rates]

    def _move(self) -> tuple[np.ndarray, np.ndarray]:
        """Jacobian (6, J) of the point, translation above rotation, and joint velocities (J,)."""
        mujoco.mj_jac(
            self._model, self._data, self._jacobian[:3], self._jacobian[3:], self.position,
            self._hand,
        )  # fmt: skip
        return self._jacobian[:, self._rates], self._data.qvel[self._rates]

    def _weigh(self) -> np.ndarray:
        """The joints' mass matrix (J, J), by columns, which all of MuJoCo's versions give."""
        for unit, product in zip(self._units, self._products, strict=True):
            mujoco.mj_mulM(self._model, self._data, product, unit)
        return self._products[:, self._rates]

    def _turn_error(self) -> np.ndarray:
        """The way to the wanted orientation (3,): half the sum of the axes' cross products."""
        return 0.5 * np.cross(self._turn, self._goal_turn, axis=0).sum(axis=1)

    def _hold_posture(
        self, jacobian: np.ndarray, mass: np.ndarray, inverse: np.ndarray, velocity: np.ndarray
    ) -> np.ndarray:
        """Torques (J,) towards the initial posture that do not accelerate the hand."""
        away = self._posture - self._data.qpos[self._addresses]
        wanted = mass @ (_POSTURE_STIFFNESS * away - _POSTURE_DAMPING * velocity)
        felt = jacobian.T @ _inertia(jacobian, inverse) @ jacobian @ inverse
        return wanted - felt @ wanted


def _inertia(jacobian: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """What the mass of the joints is to the hand: (N, N) for a Jacobian (N, J) of full rank."""
    return np.linalg.inv(jacobian @ inverse @ jacobian.T)
