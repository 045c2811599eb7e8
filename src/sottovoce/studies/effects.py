"""What a loss would change by without parts of a layer, to first order, in a pass that looks at gradients."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from sottovoce.analysis.importance import head_effects, over_layer
from sottovoce.data.batches import Source, data_stamp, samples
from sottovoce.data.utterance import Utterance
from sottovoce.errors import SottovoceError
from sottovoce.healing.objectives import Objective, own_task
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.encoder import Encoder, fingerprint
from sottovoce.models.wavlm import adopt_attention
from sottovoce.progress import track
from sottovoce.studies.chunks import Arrays, chunked
from sottovoce.studies.speech import not_tested, ready, recordings
from sottovoce.tasks.batch import Questions
from sottovoce.tasks.finetune import Headed, head_labels
from sottovoce.tasks.task import Material, material

CHUNK = 16  # utterances


@dataclass(frozen=True)
class Extent:
    """How much speech scores are taken from: a share of the training speech for effects on a loss, else recordings.

    Example:
        >>> Extent(share=0.5).limit
        128
    """

    share: float = 0.25
    limit: int | None = 128


Watched = Sequence[tuple[nn.Module, int]]  # a module, and in how many parts its input is taken apart


def add_effects(module: nn.Module, batch: Any, watched: Watched, sums: Sequence[torch.Tensor]) -> None:
    """One batch's effects of the parts of what enters the watched modules, onto the sums.

    Its loss is the mean, as in the paper's code, whose batches are of so many utterances: each utterance counts as one,
    however long it and its batch are.
    """
    seen: list[tuple[int, torch.Tensor]] = []

    def watch(number: int) -> Any:
        def hook(module: Any, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            # A leaf of its own, should nothing below it take gradients.
            context = args[0] if args[0].requires_grad else args[0].detach().requires_grad_(True)
            seen.append((number, context))
            return (context, *args[1:])

        return watched[number][0].register_forward_pre_hook(hook)

    handles = [watch(number) for number in range(len(watched))]
    try:
        loss, weight = module(batch.to(next(module.parameters()).device))
        mean = loss / max(float(weight), 1e-12)
        gradients = torch.autograd.grad(mean * len(batch.frames), [context for _, context in seen])
    finally:
        for handle in handles:
            handle.remove()
    for (number, context), gradient in zip(seen, gradients, strict=True):
        sums[number].add_(head_effects(context, gradient, watched[number][1]))


def summed_effects(
    module: nn.Module, source: Source, plan: Iterable[list[int]], watched: Watched
) -> list[torch.Tensor]:
    """The effects on a module's loss over the batches of a plan, summed."""
    sums = [torch.zeros(parts, dtype=torch.float64) for _, parts in watched]
    for items in plan:
        add_effects(module, source.load(items), watched, sums)
    return sums


def check_share(share: float) -> None:
    """Refuse a share of the training speech that is none.

    Example:
        >>> check_share(0.25)
    """
    if not 0 < share <= 1:
        raise SottovoceError(f"speech.share={share}, but a share of the training speech is wanted: above 0, up to 1.")


def effects_on(model: Any, objective: Objective, watched: Watched, *, share: float, seed: int) -> list[torch.Tensor]:
    """The effects on the loss that the model is trained with, over a share of its utterances; sums over frames,
    of what a batch's mean loss would change by, and over utterances.

    Gradients are of the whole model in evaluation mode.

    Example:
        >>> with objective_of(tuned, data) as objective:
        ...     found = effects_on(tuned, objective, [(body.linear(0, "output"), 12)], share=0.25, seed=0)
    """
    adopt_attention(model)  # WavLM's own attention, as Hugging Face loads it, does not call its output projection
    count = max(1, round(share * len(objective.utterances)))
    with ready(Encoder(model)), torch.enable_grad(), torch.random.fork_rng():
        torch.manual_seed(seed)  # which frames are hidden is a matter of chance
        module = objective.module(model).eval()
        source = objective.source(model, seed=seed, limit=count)
        plan = source.plan(0)
        return summed_effects(module, source, track(plan, "effects on the loss", len(plan)), watched)


def effects_of_heads(model: Any, objective: Objective, *, share: float, seed: int) -> list[torch.Tensor]:
    """The effect of each head of each stored layer, over the L2 norm of its layer's, as in the paper's code.

    Example:
        >>> effects_of_heads(tuned, objective, share=0.25, seed=0)[0].norm()
        tensor(1., dtype=torch.float64)
    """
    watched = output_projections(model)
    found = effects_on(model, objective, list(watched.values()), share=share, seed=seed)
    return by_layer(model, dict(zip(watched, found, strict=True)))


def effects_of(
    model: Any,
    data: Sequence[Utterance] | None,
    *,
    task: str | None = None,
    limit: int | None = 128,
    size: int = 8,
    seed: int = 0,
) -> list[torch.Tensor]:
    """What the loss of a model's own task would change by without each head, to first order, by stored layer.

    Each layer's scores are divided by their L2 norm, as in the paper's code; gradients are of the whole model in
    evaluation mode, on the train split.

    Example:
        >>> effects_of(tuned, data, task="keywords")[0].norm()
        tensor(1., dtype=torch.float64)
    """
    chosen = own_task(model, data or (), task)
    if chosen is None:
        raise SottovoceError(
            "the effect of heads on a loss needs a model with a head for a task of this data; fine-tune it first "
            "(`sottovoce finetune`), or take l1, which needs no data."
        )
    adopt_attention(model)
    encoder, watched = Encoder(model, outputs=True), output_projections(model)
    part = material(chosen, data, limit=limit, seed=seed)["train"]
    labels = head_labels(model)
    objective = Headed(chosen, model)
    chunks = [slice(begin, begin + CHUNK) for begin in range(0, len(part), CHUNK)]

    def work(chunk: slice) -> Arrays:
        some = Material(part.utterances[chunk], part.answers[chunk])
        source = Questions(chosen, some, encoder, labels, size=size)
        sums = summed_effects(objective, source, source.plan(0), list(watched.values()))
        return {str(layer): total.numpy() for layer, total in zip(watched, sums, strict=True)}

    about = {"model": fingerprint(encoder), "data": data_stamp(part.utterances), "task": chosen.name, "size": size}
    with ready(encoder), torch.enable_grad():
        made = list(chunked("effects", about, chunks, work))
    return by_layer(
        model, {layer: torch.from_numpy(np.sum([part[str(layer)] for part in made], axis=0)) for layer in watched}
    )


def output_projections(model: Any) -> dict[int, tuple[nn.Module, int]]:
    """What the heads of each stored layer that has any enter, and how many they are."""
    body = Anatomy(model)
    return {
        layer: (body.linear(layer, "output"), body.heads(layer))
        for layer in range(len(body.layers))
        if body.heads(layer)
    }


def by_layer(model: Any, scores: Mapping[int, torch.Tensor]) -> list[torch.Tensor]:
    """The scores of each stored layer's heads over their L2 norm; none where there are no heads."""
    none = torch.zeros(0, dtype=torch.float64)
    return [over_layer(scores.get(layer, none)) for layer in range(len(Anatomy(model).layers))]


def feed_forwards(model: Any) -> list[tuple[Any, Any]]:
    """The two Linears of every feed-forward part of every stored layer."""
    body = Anatomy(model)
    parts = range(len(body.family.feed_forwards))
    return [body.feed_forward(layer, which) for layer in range(len(body.layers)) for which in parts]


def effects_of_units(model: Any, objective: Objective, *, share: float, seed: int) -> list[torch.Tensor]:
    """The effect of each inner unit of each feed-forward part, over the L2 norm of its part's.

    Example:
        >>> len(effects_of_units(tuned, objective, share=0.25, seed=0)[0])
        768
    """
    watched = [(down, down.in_features) for _, down in feed_forwards(model)]
    return [over_layer(found) for found in effects_on(model, objective, watched, share=share, seed=seed)]


def activity_of_units(
    model: Any, data: Sequence[Utterance] | None, *, limit: int | None = 128, seed: int = 0
) -> list[torch.Tensor]:
    """How much each inner unit adds: its mean size over frames, times the L1 norm of its column on the way down.

    Example:
        >>> len(activity_of_units(model, data, limit=20)[0])
        768
    """
    encoder, parts = Encoder(model), feed_forwards(model)
    chosen = recordings(not_tested(data, what="activation"), what="activation", limit=limit, seed=seed)
    sums = [torch.zeros(down.in_features, dtype=torch.float64) for _, down in parts]

    def watch(number: int) -> Any:
        def hook(module: Any, args: tuple[torch.Tensor, ...]) -> None:
            sums[number].add_(args[0].detach().abs().double().flatten(0, -2).sum(0).cpu())

        return parts[number][1].register_forward_pre_hook(hook)

    with ready(encoder):
        handles = [watch(number) for number in range(len(parts))]
        try:
            # One at a time: no frame is padding.
            for utterance in track(chosen, "activity of units", len(chosen)):
                encoder.states(encoder.inputs([samples(utterance)]))
        finally:
            for handle in handles:
                handle.remove()
    norms = [down.weight.detach().double().abs().sum(0).cpu() for _, down in parts]
    return [total * norm for total, norm in zip(sums, norms, strict=True)]
