# SPDX-License-Identifier: Apache-2.0
"""Small folders of training data whose content is known, and sources without any folder."""

import json
from pathlib import Path

import cv2
import numpy as np

from dm0_ros.robots import load_robot
from dm0_ros.training.sources.sample import BrokenEpisodeError, Embodiment, Numbers, Sample

LAYOUT = load_robot("franka").layout("joint")
HEIGHT, WIDTH, FPS = 48, 64, 10


def make_states(episode, frames):
    size = frames, len(LAYOUT.columns)
    return np.random.default_rng(episode).normal(size=size).astype(np.float32)


def paint(episode, frame):
    """A picture whose mean says which it is."""
    return np.full((HEIGHT, WIDTH, 3), (40 + 50 * (episode % 4) + frame) % 256, np.uint8)


def lerobot_episodes(lengths):
    from dm0_ros.training.sources.lerobot_writer import Episode

    for number, length in enumerate(lengths):
        states = make_states(number, length)
        yield Episode(
            instruction=f"task {number % 2}",
            states=states,
            actions=states + 100,
            pictures={"front": (paint(number, frame) for frame in range(length))},
        )


def write_small_lerobot(folder, lengths=(12, 9, 15), **changes):
    from dm0_ros.training.sources.lerobot_writer import Description, write_lerobot

    settings = {
        "fps": FPS,
        "states": LAYOUT.columns,
        "actions": LAYOUT.columns,
        "cameras": {"front": (HEIGHT, WIDTH)},
    }
    return write_lerobot(folder, lerobot_episodes(lengths), Description(**(settings | changes)))


def write_small_dexdata(folder, lengths=(12, 9), **extra):
    """Pictures of the main view, and states; ``extra`` goes into every line."""
    for number, length in enumerate(lengths):
        path = Path(folder) / f"part{number}" / f"episode{number}.jsonl"
        path.parent.mkdir(parents=True)
        lines = []
        for frame, state in enumerate(make_states(number, length)):
            name = f"{number}_{frame}.png"
            cv2.imwrite(str(Path(folder) / name), paint(number, frame))
            line = {
                "images_1": {"type": "image", "url": name},
                "state": state.tolist(),
                "prompt": f"task {number}",
                "is_robot": True,
            }
            lines.append(json.dumps(line | extra))
        path.write_text("\n".join(lines) + "\n")
    return Path(folder)


class MadeUpSource:
    """A source in memory whose samples say in `instruction` which they are."""

    def __init__(self, name, sizes, weight=1.0, skip_broken=False, broken=()):
        self.name, self.sizes, self.weight = name, sizes, weight
        self.skip_broken, self.broken, self.layout = skip_broken, broken, LAYOUT
        slots = load_robot("franka").camera_slots
        self.embodiment, self.slots = Embodiment("franka", "joint", 1 / FPS, slots), ("high",)

    def __len__(self):
        return len(self.sizes)

    def size(self, episode):
        return self.sizes[episode]

    def name_sample(self, episode, index):
        return f"{self.name} episode {episode}: frame {index}"

    def episode(self, episode):
        return self.take(episode, range(self.size(episode)))

    def take(self, episode, indices):
        if episode in self.broken:
            raise BrokenEpisodeError(f"{self.name} episode {episode}: made to be broken")
        numbers = self.numbers(episode)
        for index in indices:
            assert 0 <= index < self.sizes[episode]
            yield Sample(
                pictures={"high": paint(episode, index)},
                instruction=f"{self.name}/{episode}/{index}",
                state=numbers.states[index],
                rows=numbers.rows[index],
                answer=None,
                progress=None,
                dataset=self.name,
            )

    def numbers(self, episode):
        if episode in self.broken:
            raise BrokenEpisodeError(f"{self.name} episode {episode}: made to be broken")
        random = np.random.default_rng(episode)
        count, columns = self.sizes[episode], len(LAYOUT.columns)
        states = random.normal(size=(count, columns)).astype(np.float32)
        rows = random.gamma(2.0, size=(count, 5, columns)).astype(np.float32)
        return Numbers(states, rows)
