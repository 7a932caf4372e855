# SPDX-License-Identifier: Apache-2.0
"""The MuJoCo model of a robot in a world."""

import mujoco
import numpy as np

from dm0_ros.robots.cameras import look_at
from dm0_ros.robots.kinematics import load_urdf
from dm0_ros.robots.spec import RobotSpec, SimulatedCamera
from dm0_ros.sim.moving_base import add_joints
from dm0_ros.sim.world import Bin, Block, World

# Bits of MuJoCo's contact masks. Robot parts do not collide with each other: the chain's primitive
# shapes overlap at the joints.
ROBOT, SCENE = 1, 2
_HIDDEN_GROUP = 3
BIN_PARTS = tuple(f"bin_{part}" for part in ("floor", "front", "back", "left", "right"))
_FIRM = 0.005  # s in which what overlaps is pushed apart; MuJoCo's own is 0.02
_NO_SLIP = 5  # iterations of MuJoCo's solver against creeping

# URDF has no word for these; MuJoCo reads them from an extension element.
_COMPILER = (
    '<mujoco><compiler discardvisual="false" fusestatic="false" balanceinertia="true"/></mujoco>'
)


def build_scene(spec: RobotSpec, world: World) -> mujoco.MjModel:
    """Compile robot, servos, table, objects, cameras and lights into one model."""
    scene = mujoco.MjSpec.from_string(load_urdf(spec).replace("</robot>", _COMPILER + "</robot>"))
    scene.option.timestep = spec.simulation.physics_step
    scene.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    # With pyramidal cones a held block creeps out of the fingers, 15 mm in three seconds; with
    # elliptic ones it still does by a millimetre in four, and turns. Without slip it stays.
    scene.option.cone, scene.option.impratio = mujoco.mjtCone.mjCONE_ELLIPTIC, 10
    scene.option.noslip_iterations = _NO_SLIP
    scene.visual.global_.offwidth = max(c.width for c in spec.simulation.cameras.values())
    scene.visual.global_.offheight = max(c.height for c in spec.simulation.cameras.values())
    # Software rendering: shadows and multisampling cost twenty times the rest of the picture.
    scene.visual.quality.shadowsize = 1
    scene.visual.quality.offsamples = 0
    for body in scene.bodies[1:]:
        body.gravcomp = 1.0
    for geom in scene.geoms:
        if geom.contype:
            geom.contype, geom.conaffinity, geom.group = ROBOT, SCENE, _HIDDEN_GROUP
    _add_servos(scene, spec)
    if spec.base:
        add_joints(scene)
    _add_surroundings(scene, world)
    for slot, camera in spec.simulation.cameras.items():
        _add_camera(scene, slot, camera)
    return scene.compile()


def _add_servos(scene: mujoco.MjSpec, spec: RobotSpec) -> None:
    for name in spec.column_names:
        servo = scene.add_actuator(name=name, target=name)
        servo.trntype = mujoco.mjtTrn.mjTRN_JOINT
        stiffness = spec.simulation.stiffness[name]
        servo.set_to_position(kp=stiffness, kv=spec.simulation.damping[name])
        joint = scene.joint(name)
        joint.armature = 0.1 if name in spec.joint_names else 0.01


def _add_surroundings(scene: mujoco.MjSpec, world: World) -> None:
    root = scene.worldbody
    scene.add_texture(
        name="sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=[0.80, 0.85, 0.90],
        rgb2=[0.60, 0.66, 0.72],
        width=64,
        height=64,
    )
    root.add_light(
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        pos=[0.8, -0.4, 2.0],
        dir=[-0.2, 0.2, -1.0],
        diffuse=[0.5, 0.5, 0.5],
        specular=[0, 0, 0],
    )
    scene.visual.headlight.ambient = [0.35, 0.35, 0.35]
    scene.visual.headlight.diffuse = [0.3, 0.3, 0.3]
    scene.visual.headlight.specular = [0, 0, 0]
    root.add_geom(
        name="floor",
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=[3, 3, 0.1],
        pos=[0, 0, -0.75],
        rgba=[0.55, 0.58, 0.62, 1],
        contype=SCENE,
        conaffinity=ROBOT | SCENE,
    )
    root.add_geom(
        name="table",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=world.table.position,
        size=np.array(world.table.size) / 2,
        rgba=[*world.table.colour, 1],
        contype=SCENE,
        conaffinity=ROBOT | SCENE,
    )
    if world.bin:
        _add_bin(root, world.bin, world.table.top)
    for block in world.objects:
        _add_block(root, block)


def _add_bin(root: mujoco.MjsBody, box: Bin, top: float) -> None:
    """A floor and four walls."""
    (x, y), wall, rim = np.array(box.size) / 2, box.wall / 2, box.height / 2
    boxes = (
        ((0, 0, wall), (x, y, wall)),
        ((x + wall, 0, rim), (wall, y + 2 * wall, rim)),
        ((-x - wall, 0, rim), (wall, y + 2 * wall, rim)),
        ((0, y + wall, rim), (x, wall, rim)),
        ((0, -y - wall, rim), (x, wall, rim)),
    )
    for name, (place, size) in zip(BIN_PARTS, boxes, strict=True):
        root.add_geom(
            name=name,
            type=mujoco.mjtGeom.mjGEOM_BOX,
            pos=np.array([*box.position, top]) + place,
            size=size,
            rgba=[*box.colour, 1],
            contype=SCENE,
            conaffinity=ROBOT | SCENE,
        )


def _add_block(root: mujoco.MjsBody, block: Block) -> None:
    body = root.add_body(name=block.name)
    body.add_freejoint(name=block.name)
    body.add_geom(
        name=block.name,
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=[block.size / 2] * 3,
        mass=block.mass,
        rgba=[*block.colour, 1],
        contype=SCENE,
        conaffinity=ROBOT | SCENE,
        friction=[1.0, 0.01, 0.001],
        condim=4,  # friction against turning on the spot, too
        # Firm: fingers that squeeze a light block would sink into it. The block's numbers count.
        solref=[_FIRM, 1.0],
        priority=1,
    )


def _add_camera(scene: mujoco.MjSpec, slot: str, camera: SimulatedCamera) -> None:
    parent = scene.body(camera.link) if camera.link else scene.worldbody
    parent.add_camera(
        name=slot,
        pos=camera.position,
        fovy=np.degrees(camera.field_of_view),
        xyaxes=look_at(camera.position, camera.target, camera.up),
    )
