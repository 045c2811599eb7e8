"""Random chains of edits: whatever is done in whatever order, what is saved comes back, here and elsewhere."""

import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY, tiny
from elsewhere import WAVLM, elsewhere, write_case

import sottovoce as sv
from sottovoce.methods.quantize import linears_of
from sottovoce.models.bundle import FILE
from sottovoce.models.edits import use_int8

HEADS = ["", "ForCTC", "ForSequenceClassification"]
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
LONG = 200

Step = tuple[str, dict[str, Any]]


def some(draw: random.Random, size: int, *, least: int = 0) -> list[int]:
    """A random part of `range(size)`, in order."""
    return sorted(draw.sample(range(size), draw.randint(min(least, size), size)))


def next_step(draw: random.Random, model: Any) -> Step:
    """A step that mostly makes sense for a model as it stands."""
    body = sv.Anatomy(model)
    layers = 0 if body.mimics else len(body.layers)
    layer = draw.randrange(max(layers, 1))
    linears = [name for name, part in model.named_modules() if isinstance(part, torch.nn.Linear)]
    steps: dict[str, dict[str, Any]] = {
        "set_order": {"order": [draw.randrange(max(layers, 1)) for _ in range(draw.randint(1, 6))]},
        "keep_layers": {"steps": some(draw, len(body.order) if layers else 0, least=1)},
        "tie_layers": {"source": layer},
        "apply_times": {"times": draw.randint(1, 5)},
        "keep_heads": {"layer": layer, "heads": some(draw, body.heads(layer) if layers else 1)},
        "use_log_mel": {"bins": draw.randint(4, 12), "stack": draw.randint(1, 3)},
        "use_mimic": {
            "layers": draw.randint(1, 2),
            "kind": draw.choice(["linear", "transformer"]),
            "width": draw.randint(1, 20),
            "over": draw.choice(["time", "batch"]),
            "positional": draw.random() < 0.5,
        },
        "keep_hidden": {"units": some(draw, body.setting("hidden_size"), least=body.setting("hidden_size") // 2)},
        "fold_weight_norm": {},
        "zero": {"seed": draw.randrange(1_000)},
        "factor": {"path": draw.choice(linears), "rank": draw.randint(1, 12)},
    }
    which = draw.randrange(len(body.family.feed_forwards))
    width = body.feed_forward_width(layer, which) if layers else 1
    steps["keep_feed_forward"] = {"layer": layer, "which": which, "units": some(draw, width)}
    if body.convs:
        conv = draw.randrange(len(body.convs))
        steps["keep_channels"] = {"conv": conv, "channels": some(draw, body.convs[conv].out_channels, least=1)}
    # A mimic ends most of what can follow, so it is rare.
    names = [name for name in steps if name != "use_mimic" or draw.random() < 0.3]
    name = draw.choice(names)
    return name, steps[name]


def zero(model: Any, *, seed: int) -> None:
    """Half of the weights of one matrix."""
    matrices = [(name, part) for name, part in model.named_parameters() if part.dim() == 2 and part.numel()]
    name, part = random.Random(seed).choice(matrices)
    sv.edits.zero_weights(model, {name: torch.arange(part.numel()).view(part.shape) % 2 == 0})


def round_to_bytes(model: Any, *, static: bool) -> None:
    """Every Linear that `quantize` would round."""
    paths = [path for part in ("attention", "feed_forward", "projection", "head") for path in linears_of(model, part)]
    use_int8(model, dict.fromkeys(paths, 3.0 if static else None))


def take(model: Any, step: Step) -> bool:
    """Whether the step was possible; one that was not says why and leaves everything as it was."""
    name, options = step
    functions = {"zero": zero, "keep_hidden": sv.keep_hidden, "fold_weight_norm": sv.fold_weight_norm}
    function = functions.get(name) or getattr(sv.edits, name)
    before = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    try:
        function(model, **options)
    except sv.SottovoceError:
        assert before == {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}, step
        return False
    return True


def chain(family: str, seed: int) -> tuple[Any, list[Step]]:
    """A model after a random chain of edits, and the chain."""
    draw = random.Random(f"{family} {seed}")
    dtype = DTYPES[seed % 3]
    model = tiny(family, head=draw.choice(HEADS) if family != "whisper" else draw.choice(["", HEADS[2]]), seed=seed)
    early = draw.random() < 0.5
    model = model.to(dtype) if early else model
    taken = []
    for _ in range(draw.randint(1, 8)):
        step = next_step(draw, model)
        if take(model, step):
            taken.append(step)
    model = model.to(dtype)
    if draw.random() < 0.15:
        static = draw.random() < 0.5
        round_to_bytes(model, static=static)
        taken.append(("round_to_bytes", {"static": static}))
    return model, taken


def check_chains(chains: Iterable[tuple[str, int]], place: Path) -> Iterator[str]:
    """Every fault of these families and seeds, with the chain that leads to it."""
    cases, about = dict[Path, Path](), dict[Path, tuple[str, torch.dtype]]()
    for family, seed in chains:
        said = f"{family} {seed}"
        try:
            model, steps = chain(family, seed)
            said = f"{family} {seed} {model.dtype} {type(model).__name__}: {steps}"
            folder = place / f"{family}-{seed}"
            sv.save(model, folder, check=False)
            cases[folder] = write_case(model, place / f"{family}-{seed}.safetensors")
            about[folder] = said, model.dtype
            reloaded = sv.load(folder)
            inputs = sv.Anatomy(model).dummy_inputs(0.41, batch=2, seed=seed)
            with torch.no_grad():
                if not torch.equal(reloaded(**inputs)[0], model(**inputs)[0]):
                    yield f"{said}: differs when it is loaded again"
        except Exception as error:
            yield f"{said}: {type(error).__name__}: {error}"
    for folder, seen in elsewhere(cases, place).items():
        said, dtype = about[folder]
        carries = (folder / FILE).is_file()
        bound = WAVLM[dtype] if folder.name.startswith("wavlm") and not carries else 0.0
        whole = not seen.get("missing", True) and seen["stops"] == carries and seen["dtype"] == str(dtype)
        if not whole or not (seen["same"] or seen["error"] <= bound):
            yield f"{said}: elsewhere {seen}"


def test_short_chains(tmp_path: Path) -> None:
    families = ["hubert", "wavlm", "wavlm-large", "sew", "wav2vec2-conformer-rotary", "whisper"]
    # Another dtype a family in turn.
    faults = list(check_chains([(family, seed) for seed, family in enumerate(families)], tmp_path))
    assert not faults, "\n".join(faults)


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(TINY))
def test_long_chains(family: str, tmp_path: Path) -> None:
    faults = list(check_chains([(family, seed) for seed in range(LONG)], tmp_path))
    assert not faults, "\n".join([f"{len(faults)} faults", *faults])
