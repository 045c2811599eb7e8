"""Every family times every edit: it saves and reloads bit for bit, costs what it says, pads exactly, and learns."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import EDITS, edited, possible, tiny
from hub_files import PUBLISHED, Published, published
from torch.nn.functional import pad
from torch.utils.flop_counter import FlopCounterMode

import sottovoce as sv
from sottovoce.models.processors import PROCESSOR_FILES
from sottovoce.models.record import eager

SAMPLES = 9_123  # odd lengths everywhere


def run(model: Any, **inputs: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(**inputs)[0]


def refused(family: str, edit: str) -> bool:
    """Whether the edit has nothing to work on here; then it must say so."""
    if possible(family, edit):
        return False
    with pytest.raises(sv.SottovoceError):
        edited(family, edit)
    return True


def test_reloads_bit_for_bit_and_leaves_the_model_alone(family: str, edit: str, folder: Path) -> None:
    if refused(family, edit):
        return
    model = edited(family, edit, head="ForSequenceClassification")
    inputs = sv.Anatomy(model).dummy_inputs(SAMPLES / 16_000, batch=2, seed=3)
    before, tensors = run(model, **inputs), copy.deepcopy(model.state_dict())
    sv.save(model, folder)
    assert torch.equal(run(model, **inputs), before)
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in model.state_dict().items())
    reloaded = sv.load(folder)
    assert type(reloaded) is type(model) and type(model).__module__.startswith("transformers.")
    assert torch.equal(run(reloaded, **inputs), before)
    assert reloaded.state_dict().keys() == model.state_dict().keys()
    assert reloaded.config.to_dict().get("sottovoce") == model.config.to_dict().get("sottovoce")
    # Saved once more, what was loaded gives the same folder.
    sv.save(reloaded, folder.with_name("again"))
    assert (folder / "config.json").read_text() == (folder.with_name("again") / "config.json").read_text()


NARROWING = ("keep_hidden", "keep_hidden_evenly", "everything")
MIMICS = ("mimic_linear", "mimic_transformer", "mimic_positional", "mimic_filter", "mimic_none")
SHOWN = ("nothing", "keep_layers", "no_heads", "everything")  # the others are slow


def hindrance(about: Published, edit: str, narrows: bool) -> str | None:
    """What the error says where a head is in the way of an edit."""
    if about.head == "ForPreTraining" and edit in NARROWING and narrows:
        return "tied to a quantiser"
    if about.head == "ForPreTraining" and edit == "use_log_mel":
        return "a quantiser reads the convolutional features"
    weighs = about.settings.get("use_weighted_layer_sum", False)
    return "weighs all layers" if weighs and edit in MIMICS else None


@pytest.mark.parametrize("edit", [e if e in SHOWN else pytest.param(e, marks=pytest.mark.slow) for e in sorted(EDITS)])
@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_checkpoints_reload_bit_for_bit_after_every_edit(name: str, edit: str, folder: Path) -> None:
    place, _ = published(name)
    if not possible(PUBLISHED[name].tiny, edit):
        return
    model = sv.load(place)
    if words := hindrance(PUBLISHED[name], edit, sv.Anatomy(model).family.narrows):
        with pytest.raises(sv.SottovoceError, match=words):
            EDITS[edit](model)
        return
    EDITS[edit](model)
    inputs = sv.Anatomy(model).dummy_inputs(SAMPLES / 16_000, batch=2, seed=3)
    before, tensors = run(model, **inputs), copy.deepcopy(model.state_dict())
    sv.save(model, folder)
    reloaded = sv.load(folder)
    assert type(reloaded) is type(model) and torch.equal(run(reloaded, **inputs), before)
    assert reloaded.state_dict().keys() == tensors.keys()
    assert all(torch.equal(tensor, tensors[key]) for key, tensor in reloaded.state_dict().items())
    assert not list(folder.glob("*.bin*"))
    beside = [path for path in place.glob("*.json") if path.name in PROCESSOR_FILES]
    assert beside and all((folder / path.name).read_bytes() == path.read_bytes() for path in beside)


@pytest.mark.parametrize("samples", [16_000, SAMPLES])
def test_cost_formula_equals_the_counter(family: str, edit: str, samples: int) -> None:
    if refused(family, edit):
        return
    model = edited(family, edit, head="ForSequenceClassification")
    inputs = sv.Anatomy(model).dummy_inputs(samples / 16_000)
    with torch.no_grad(), eager(model), FlopCounterMode(display=False) as counter:
        model(**inputs)
    measured = sv.macs(model, seconds=samples / 16_000)[0].value
    assert measured == pytest.approx(counter.get_total_flops() / 2, rel=1e-3)
    assert sv.size(model)[0].value == sum(parameter.numel() for parameter in model.parameters())


def test_padded_batch_equals_single_utterances(family: str, edit: str) -> None:
    if family == "whisper" or refused(family, edit):
        return  # Whisper pads every input to 30 s by design
    model = edited(family, edit)
    body = sv.Anatomy(model)
    features = body.family.convs is None
    shape = (model.config.feature_projection_input_dim,) if features else ()
    lengths = [100, 57, 28, 75] if features else [16_000, SAMPLES, 4_567, 12_001]
    torch.manual_seed(0)
    singles = [torch.randn(length, *shape) + 0.3 for length in lengths]
    room = [(0, 0) * len(shape) + (0, max(lengths) - length) for length in lengths]
    batch = torch.stack([pad(single, space) for single, space in zip(singles, room, strict=True)])
    mask = (torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]).long()
    name = model.main_input_name
    alone = [run(model, **{name: single[None]})[0] for single in singles]
    with sv.exact_padding(model):
        together = run(model, **{name: batch, "attention_mask": mask})
    for index, single in enumerate(alone):
        error = (together[index, : len(single)] - single).norm() / single.norm()
        assert error < 1e-4, f"utterance {index} is off by {error:.1e}"


def test_backward_reaches_every_parameter_that_runs(family: str, edit: str) -> None:
    if refused(family, edit):
        return
    model = edited(family, edit, head="ForSequenceClassification").train()
    output = model(**sv.Anatomy(model).dummy_inputs(0.5, batch=2), labels=torch.tensor([0, 1]))
    assert torch.isfinite(output.loss)
    output.loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert all(torch.isfinite(grad).all() for grad in gradients.values() if grad is not None)
    # Attention that lost its heads and WavLM's gates there, masks that training alone uses, tables that Hugging Face
    # never applies: nothing else may be left out.
    unused = ("masked_spec_embed", "pos_conv_embed", "embed_positions", "decoder")
    dead = {name for name, grad in gradients.items() if grad is None and not any(part in name for part in unused)}
    headless = {
        name
        for index in range(len(sv.Anatomy(model).layers))
        if not sv.Anatomy(model).mimics and sv.Anatomy(model).heads(index) == 0
        for name in gradients
        if f"layers.{index}." in name and "attn" in name.replace("attention", "attn")
    }
    assert dead <= headless, sorted(dead - headless)


@pytest.mark.parametrize("edit", sorted(EDITS))
def test_edits_inherit_mode_and_gradient_switch(edit: str) -> None:
    model = tiny("wavlm" if possible("wavlm", edit) else "hubert").train()
    for parameter in model.parameters():
        parameter.requires_grad = False
    EDITS[edit](model)
    assert all(module.training for module in model.modules())
    assert not [name for name, parameter in model.named_parameters() if parameter.requires_grad]
