"""Finds what is wrong with a checkpoint, and says what to do."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from sottovoce.errors import SottovoceError
from sottovoce.files import inside, read_whole, regular_file
from sottovoce.models.anatomy import Anatomy, is_parametrized
from sottovoce.models.bundle import FILE
from sottovoce.models.checkpoint import (
    config_record,
    find_class,
    find_source,
    make_config,
    outline,
    system_errors,
)
from sottovoce.models.families import PREFIX, setting
from sottovoce.models.loading import GENERATION, conversion, fetch_folder, read_model
from sottovoce.models.padding import exact_padding
from sottovoce.models.processors import EXTRACTOR, PROCESSOR_FILES, extractor_settings
from sottovoce.models.structure import recorded
from sottovoce.models.teachers import DIFFERENCE
from sottovoce.models.weights import PICKLES, check_headers, is_pickled, read_weights, weight_files

# Relative error of a padded batch from which on results change visibly.
PADDING_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Finding:
    """One thing that the doctor saw: how bad it is, what it is, and what to do.

    Example:
        >>> Finding("error", "pickle", "weights are a pickle", "convert them").level
        'error'
    """

    level: Literal["error", "warning", "fine"]
    check: str
    what: str
    do: str = ""


def doctor(folder: str | Path) -> list[Finding]:
    """Examine a model's folder: files, configuration against tensors, random layers, padding, weight norm.

    Example:
        >>> [finding.what for finding in doctor("my-model") if finding.level == "error"]
        []
    """
    source = find_source(folder)
    place = source if Path(source).is_dir() else str(fetch_folder(source))
    with system_errors(source):
        findings, model = read_whole(place, lambda: examine(Path(place), source))
        return findings if model is None else findings + list(check_model(model))


def examine(folder: Path, source: str) -> tuple[list[Finding], Any]:
    """What there is to say of a local folder's files, and the model in it if they are sound."""
    findings = list(check_files(folder, source))
    if any(finding.level == "error" for finding in findings):
        return findings, None
    try:
        findings += check_tensors(folder)
        if any(finding.level == "error" and finding.check != "random" for finding in findings):
            return findings, None
        return findings, read_model(folder, str(folder), None).eval()
    except SottovoceError as error:
        what = Finding("error", "load", str(error), "save the model anew with sottovoce, or download it again")
        return [*findings, what], None


def check_files(folder: Path, source: str) -> Iterator[Finding]:
    """What can be said without opening a tensor."""
    try:
        path = inside(folder, "config.json", "the configuration")
        if not os.path.lexists(path):
            what = f"{folder} holds no config.json"
            yield Finding("error", "config", what, "give a folder that save_pretrained wrote")
            return
        record = config_record(path, str(folder))
        config = make_config(record, str(folder))
        find_class(config, str(folder))
    except SottovoceError as error:
        yield Finding("error", "config", str(error), "take config.json from where the model came from")
        return
    try:
        for name in (*PROCESSOR_FILES, GENERATION, FILE):
            if os.path.lexists(inside(folder, name)):
                regular_file(folder / name)
    except SottovoceError as error:
        yield Finding("error", "files", str(error), "copy the file itself there, or delete it")
        return
    try:
        check_headers(folder)
        weights = [path.name for path in weight_files(folder)]
    except SottovoceError as error:
        yield Finding("error", "weights", str(error), "see above")
        return
    if is_pickled(Path(weights[0])):
        what = f"the weights are a pickle ({weights[0]}), of which sottovoce reads nothing but tensors"
        yield Finding("warning", "pickle", what, conversion(source))
    pickles = [path.name for pattern in PICKLES for path in sorted(folder.glob(pattern)) if path.name not in weights]
    if pickles:
        what = f"{', '.join(pickles[:3])} can run code when opened elsewhere, for it is a pickle; it is not read here"
        yield Finding("warning", "pickle", what, "delete it")
    needs_code = str(record.get("model_type", "")).startswith(PREFIX) or not recorded(config).regular
    if needs_code and not (folder / FILE).is_file():
        what = f"the shape is not a plain one and {FILE} is missing, so AutoModel cannot load this folder"
        yield Finding(
            "error", "modelling file", what, "load it with sottovoce and save it again: sv.save(sv.load(a), b)"
        )
    foreign = [path.name for path in sorted(folder.glob("*.py")) if path.name != FILE]
    if foreign:
        what = f"{', '.join(foreign)} would run with trust_remote_code=True; sottovoce does not run it"
        yield Finding("warning", "code", what, "read it before you trust it")
    yield from check_processor(folder, config)


def check_processor(folder: Path, config: Any) -> Iterator[Finding]:
    """The feature extractor's settings against the model's."""
    try:
        record = extractor_settings(folder)
    except SottovoceError as error:
        yield Finding("error", "processor", str(error), "copy it again")
        return
    if record is None:
        what = "no file tells of a feature extractor, so pipelines cannot load this folder"
        yield Finding("warning", "processor", what, f"copy {EXTRACTOR} from the model that this one was made of")
        return
    rate = record.get("sampling_rate", 16_000)
    if rate != 16_000:
        yield Finding(
            "warning", "processor", f"sampling_rate is {rate}; these models hear 16 000 Hz", "set it to 16000"
        )
    if getattr(config, "feat_extract_norm", "group") == "layer" and record.get("return_attention_mask") is False:
        what = "return_attention_mask is false, but this model was trained with masks"
        yield Finding("warning", "processor", what, 'set "return_attention_mask": true')


def check_tensors(folder: Path) -> Iterator[Finding]:
    """The tensors against the configuration, and against chance."""
    config = make_config(config_record(folder / "config.json", str(folder)), str(folder))
    shapes, untouched, broken = read_tensors(folder, config)
    steps = stored_layer_count(config)
    stored = layer_numbers(shapes)
    if steps is not None and stored != set(range(steps)):
        what = f"config.json speaks of {steps} layers, the tensors are of layers {_listed(stored)}"
        do = f"delete layers with sv.drop_layers, which also renumbers them and sets their number (here {len(stored)})"
        yield Finding("error", "layers", what, do)
    if broken:
        what = f"{len(broken)} tensors hold NaN or infinity, {broken[0]} first"
        yield Finding("error", "numbers", what, "go back to a checkpoint from before training diverged")
    fresh = {layer for layer in stored if all(untouched.get(name, True) for name in shapes if _layer(name) == layer)}
    if fresh and fresh != stored:
        what = f"layers {_listed(fresh)} look freshly initialised (norms at one, biases at zero), the others do not"
        do = "they were missing when the model was loaded and were filled with random numbers; go back to the original"
        yield Finding("error", "random", what, do)
    elif fresh:
        what = "every layer looks freshly initialised (norms at one, biases at zero)"
        yield Finding("warning", "random", what, "fine for a model made by sv.new; else the weights were not loaded")


def read_tensors(folder: Path, config: Any) -> tuple[dict[str, tuple[int, ...]], dict[str, bool], list[str]]:
    """Shapes, which one-dimensional tensors are as initialised, and which tensors are not finite."""
    shapes: dict[str, tuple[int, ...]] = {}
    untouched: dict[str, bool] = {}
    broken = []
    wanted = {}
    if (folder / DIFFERENCE).is_file():
        wanted = outline(find_class(config, str(folder)), config, f"the config.json of {folder}").state_dict()
    for name, tensor in read_weights(folder, wanted).items():
        shapes[name] = tuple(tensor.shape)
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            broken.append(name)
        if tensor.dim() == 1 and tensor.numel():
            start = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            untouched[name] = bool((tensor == start).all())
    return shapes, untouched, broken


def check_model(model: Any) -> Iterator[Finding]:
    """What shows when the model runs."""
    body = Anatomy(model)
    broken = [name for name, tensor in model.state_dict().items() if not bool(tensor.isfinite().all())]
    if broken:
        # In its file a number may be finite that no number of the model's own kind can be.
        what = f"{len(broken)} tensors are NaN or infinity when they are loaded, {broken[0]} first"
        yield Finding("error", "numbers", what, "load it in a wider dtype, or go back to an earlier checkpoint")
        return
    if body.family.convs is not None and getattr(body.base, "adapter", None) is None:
        plain, exact = padding_error(model)
        if not math.isfinite(plain) or not math.isfinite(exact):
            what = "the model's outputs are NaN or infinity, or all zero, so batches cannot be compared"
            yield Finding("error", "padding", what, "go back to a checkpoint from before training diverged")
        elif plain > PADDING_TOLERANCE:
            what = f"a padded batch differs from single utterances by {plain:.0%} (with exact padding: {exact:.0e})"
            do = "run batches inside `with sv.exact_padding(model):` with an attention mask, or one utterance at a time"
            yield Finding("warning", "padding", what, do)
        else:
            yield Finding("fine", "padding", f"a padded batch with a mask equals single utterances ({plain:.0e})")
    if any(is_parametrized(conv) for _, conv in body.positional_convs()):
        what = "the positional convolution computes its weight anew in every pass (weight norm)"
        yield Finding("warning", "weight norm", what, "before deployment: sv.fold_weight_norm(model), on a copy")
    if getattr(model.config, "do_stable_layer_norm", False):
        what = "hidden_states[-1] is before the final norm in transformers 5 and after it in 4"
        yield Finding("warning", "hidden states", what, "use sv.states(model, ...), which means one thing")
    yield Finding("fine", "load", f"{type(model).__name__} loads, every tensor in its place")


def padding_error(model: Any) -> tuple[float, float]:
    """The relative error of a padded batch against single utterances, as the model is and with exact padding."""
    body = Anatomy(model)
    generator = torch.Generator().manual_seed(0)
    speech = torch.randn(2, 24_000, generator=generator).to(next(model.parameters()))
    mask = torch.ones(2, 24_000, dtype=torch.long, device=speech.device)
    short = 15_000
    mask[1, short:] = 0
    batch = speech.masked_fill(mask == 0, 0.0)

    def error() -> float:
        with torch.no_grad():
            together = body.base(batch, attention_mask=mask)[0][1]
            alone = body.base(batch[1:, :short], attention_mask=mask[1:, :short])[0][0]
        return float((together[: len(alone)] - alone).norm() / alone.norm())

    plain = error()
    with exact_padding(model):
        return plain, error()


def layer_numbers(names: Any) -> set[int]:
    """The numbers of the encoder layers that tensors of these names belong to."""
    return {number for number in map(_layer, names) if number is not None}


def _layer(name: str) -> int | None:
    if ".decoder." in name or name.startswith("decoder."):
        return None
    _, found, rest = name.rpartition("encoder.layers.")
    number = rest.split(".")[0] if found else ""
    return int(number) if number.isdigit() else None


def stored_layer_count(config: Any) -> int | None:
    """How many stored layers a configuration speaks of; None where mimic layers stand for them."""
    structure = recorded(config)
    if structure.mimic is not None:
        return None
    stored = structure.stored_layers
    return setting(config, "num_hidden_layers") if stored is None else stored


def _listed(numbers: set[int]) -> str:
    return ", ".join(map(str, sorted(numbers))) or "none"
