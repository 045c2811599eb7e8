"""Hidden states and attention maps mean the same in every family."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY, edited, tiny
from zygote import Zygote

import sottovoce as sv


@pytest.mark.parametrize("family", sorted(TINY))
def test_states_are_the_residual_stream(family: str) -> None:
    model = tiny(family)
    inputs = sv.Anatomy(model).dummy_inputs(0.5)
    with torch.no_grad():
        seen = sv.states(model, attention=True, **inputs)
        plain = model(**inputs)[0]
    body = sv.Anatomy(model)
    assert len(seen.hidden) == 5 and len(seen.attention) == 4
    torch.testing.assert_close(seen.output[0], plain, rtol=1e-4, atol=1e-5)
    # Each state is what the next layer turns into the next state: no norm sits between them.
    assert all(state.shape == seen.hidden[0].shape for state in seen.hidden)
    frames = seen.hidden[0].shape[1]
    for probabilities in seen.attention:
        assert probabilities.shape == (1, 4, frames, frames)
        torch.testing.assert_close(probabilities.sum(-1), torch.ones(1, 4, frames), rtol=1e-4, atol=1e-5)
    if family != "whisper" and body.name != "sew":
        norm = body.base.get_submodule(body.family.final_norm) if body.family.final_norm else torch.nn.Identity()
        stable = getattr(model.config, "do_stable_layer_norm", False) or body.name == "wav2vec2-conformer"
        last = norm(seen.hidden[-1]) if stable else seen.hidden[-1]
        torch.testing.assert_close(last, seen.output[0], rtol=1e-4, atol=1e-5)


def test_states_leave_the_model_as_it_was() -> None:
    model = tiny("hubert")
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    sv.states(model, attention=True, **sv.Anatomy(model).dummy_inputs(0.5))
    assert hooks == [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    assert model.config._attn_implementation == "sdpa"


NEW_PROCESS = """
import sottovoce as sv, sys
model = sv.load(sys.argv[1])
seen = model(**sv.Anatomy(model).dummy_inputs(0.5), output_hidden_states=True).hidden_states
assert type(model).__module__.startswith("transformers."), type(model)
assert seen is not None and len(seen) == 5, seen
"""


@pytest.mark.parametrize("edit", ["nothing", "share_layers"])
def test_hugging_faces_own_hidden_states_still_work(zygote: Zygote, edit: str, folder: Path) -> None:
    """In a process where Hugging Face has made no model of the class before."""
    sv.save(edited("hubert", edit), folder)
    zygote.run([str(folder)], cwd=folder, python=NEW_PROCESS)


@pytest.mark.parametrize("edit", ["share_layers", "set_order", "no_heads", "mimic_transformer", "everything"])
def test_states_of_edited_models_follow_the_steps(edit: str) -> None:
    model: Any = edited("wavlm", edit)
    body = sv.Anatomy(model)
    steps = len(body.layers) if body.mimics else len(body.order)
    seen = sv.states(model, attention=not body.mimics, **body.dummy_inputs(0.5))
    assert len(seen.hidden) == steps + 1
    if not body.mimics:
        assert [probabilities.shape[1] for probabilities in seen.attention] == [body.heads(i) for i in body.order]
