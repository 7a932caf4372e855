# SPDX-License-Identifier: Apache-2.0
"""A tiny network that has really learnt to write: what it says depends on what it is told."""

from __future__ import annotations

import yaml

from dm0_ros.policy.prompt import CUE, OPENING, ROLE, STOP

LEVELS = ("subtask", "box", "trajectory", "action")
ROWS = {"path_rows": [1, 3, 5], "action_rows": [2, 5]}
PATH = "path: main 100 200 300 400 500 600\n"
BEGIN = "subtask: touch it\nbox: 010 020 300 400\n"
_BINS = "".join(f"<action_{bin}>" for bin in (127, 140, 114, 127, 127, 127, 127, 127) * 2)
ACTIONS = f"action: {_BINS}\n"
TEXTS = {
    "touch the red block": BEGIN + PATH + ACTIONS,
    "say it the wrong way round": "subtask: touch it\nbox: 900 020 300 400\n" + PATH + ACTIONS,
    "stop early": BEGIN,
    "never stop": "subtask: " + "la" * 60,
    "forget an action": BEGIN + PATH + ACTIONS.replace("<action_140>", "", 1),
}
LIMIT = 100
_WORDS = (OPENING, ROLE, CUE, STOP, *(f"<action_{bin}>" for bin in range(255)))
_STEPS = 200


def write_reasoning_checkpoint(folder, write_checkpoint):
    """A checkpoint folder for the Franka that writes `TEXTS` for their instructions."""
    import torch

    from dm0_ros.model import DM0

    scaffold = {"grammar": "nano", "levels": list(LEVELS), "view": "right_hand", "limit": LIMIT}
    write_checkpoint(
        folder, vocabulary=520, words=_WORDS, max_text_tokens=60, scaffold=scaffold | ROWS
    )
    model = DM0.from_pretrained(folder)
    with torch.enable_grad():
        learn(model, folder)
    model.save_pretrained(folder)
    return folder


def learn(model, folder):
    """Teach the network its texts until it says them all by heart."""
    import torch
    import torch.nn.functional as F

    tokens, learnt = encode_texts(folder)
    head = model.model.llm.embed_tokens.weight
    optimiser = torch.optim.AdamW(model.model.llm.parameters(), lr=1e-2, weight_decay=0.0)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, _STEPS, pct_start=0.1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(_STEPS):
        # Two views, as the policy gives them; their content changes, and teaches nothing.
        images = torch.rand(2, 3, 56, 56, generator=generator) * 2 - 1
        with torch.no_grad():
            pictures = model.encode_pictures(images).flatten(0, 1)
        seen = pictures.expand(len(tokens), *pictures.shape)
        x = torch.cat((seen, model.model.llm.embed_tokens(tokens)), 1)
        cos, sin = model.rope_table(x.shape[1], x)
        rope = cos[: x.shape[1]], sin[: x.shape[1]]
        _, hidden = model.model.llm.encode(x, rope, want_hidden=True)
        logits = hidden[:, seen.shape[1] : -1] @ head.T
        loss = F.cross_entropy(logits[learnt[:, 1:]], tokens[:, 1:][learnt[:, 1:]])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        rate.step()
    assert loss < 0.02, f"the texts were not learnt: {loss:.3f}"


def encode_texts(folder):
    """Token ids (N, T) of prompts with cue, answer and stop token, and which are to be learnt."""
    import torch

    from dm0_ros.policy.prompt import prompt_segments
    from dm0_ros.policy.tokenizer import load_tokenizer

    tokenizer, rows = load_tokenizer(folder), []
    for instruction, text in TEXTS.items():
        segments = *prompt_segments(instruction), CUE
        prompt = [token for segment in segments for token in tokenizer.encode(segment)]
        rows.append((prompt, [*tokenizer.encode(text), tokenizer.find(STOP)]))
    longest = max(len(prompt) + len(answer) for prompt, answer in rows)
    tokens = torch.full((len(rows), longest), tokenizer.pad_id)
    learnt = torch.zeros(len(rows), longest, dtype=torch.bool)
    for row, (prompt, answer) in enumerate(rows):
        end = len(prompt) + len(answer)
        tokens[row, :end] = torch.tensor(prompt + answer)
        learnt[row, len(prompt) : end] = True
    return tokens, learnt


def change_scaffold(folder, **changes):
    """Rewrite the section `scaffold` of a policy.yaml; None takes it away."""
    path = folder / "policy.yaml"
    settings = yaml.safe_load(path.read_text())
    settings["scaffold"] = {**settings["scaffold"], **changes}
    path.write_text(yaml.safe_dump(settings))
