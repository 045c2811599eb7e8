"""Teaching a model a task: Hugging Face's head on the encoder, and all or chosen parts trained."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, final

import torch
from torch import nn

from sottovoce.data.batches import data_stamp, decoded
from sottovoce.data.utterance import Utterance
from sottovoce.errors import SottovoceError, unknown
from sottovoce.files import place_for
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.encoder import Encoder
from sottovoce.models.front_end import LogMel
from sottovoce.models.heads import TASK, head_labels, with_head
from sottovoce.models.padding import exact_padding
from sottovoce.tasks.batch import Batch, Questions
from sottovoce.tasks.kinds import BLANK, GREEDY, Decoding, Score
from sottovoce.tasks.probe import check_answers, judge
from sottovoce.tasks.task import Material, Task, material, require
from sottovoce.training import Training, best_device, train

PARTS = ("front_end", "projection", "positional", "layers", "head")


@final
class Headed(nn.Module):
    """A model with a head, learning a task."""

    def __init__(self, task: Task, model: Any) -> None:
        super().__init__()
        self.task, self.model = task, model
        self._keep = {"inputs": Encoder(model, outputs=True)}  # in a dictionary: a view is no part of the module

    def logits(self, batch: Batch) -> torch.Tensor:
        """What the head says."""
        inputs = self._keep["inputs"].placed(batch.inputs)
        config = self.model.config
        masks = getattr(config, "apply_spec_augment", False)
        try:
            # Hugging Face refuses to mask a batch that is shorter than one mask.
            config.apply_spec_augment = masks and int(batch.frames.max()) > getattr(config, "mask_time_length", 0)
            return self.model(**inputs).logits
        finally:
            config.apply_spec_augment = masks

    def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """The task's loss."""
        return self.task.kind.loss(self.logits(batch), batch.frames, batch.targets)

    def train(self, mode: bool = True) -> "Headed":
        """As usual, but what takes no gradients works as in evaluation: no dropout, and no statistics of a batch."""
        super().train(mode)
        for module in self.modules():
            own = list(module.parameters())
            if own and not any(parameter.requires_grad for parameter in own):
                module.eval()
        return self

    def outputs(self, batch: Batch) -> list[torch.Tensor]:
        """What the head says, or for verification what its classifier reads."""
        batch = batch.to(self.model.device)
        if not self.task.kind.verifies:
            return [self.logits(batch)]
        seen: list[torch.Tensor] = []
        handle = self.model.classifier.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
        try:
            self.logits(batch)
        finally:
            handle.remove()
        return seen


def finetune_model(
    task: Task,
    model: Any,
    data: Any,
    *,
    settings: Training,
    size: float = 16,
    freeze: Sequence[str] = ("front_end",),
    limit: int | None = None,
    dropout: float | None = None,
    mask_time: float | None = None,
) -> Any:
    """A copy of the model with the task's head, trained; its best weights on the dev split, if there is one.

    Example:
        >>> tuned = finetune_model(KEYWORDS, model, data, settings=Training(steps=500, lr=1e-4))
    """
    if isinstance(model, LogMel):
        raise SottovoceError("log-mel features have nothing to fine-tune; probe them, or give a model.")
    splits = material(task, data, limit=limit, seed=settings.seed)
    require(task, splits, "train")
    labels = labels_to_learn(task, model, splits["train"].answers)
    check_answers(task, splits, labels, "dev")
    check_dropout(dropout, mask_time)
    tuned = start(task, model, labels, settings.seed).requires_grad_(True)
    set_dropout(tuned, dropout, mask_time)
    with place_for(f"audio-{task.name}") as folder, exact_padding(tuned), frozen_parts(tuned, freeze):
        parts = {name: in_memory(part, folder / name) for name, part in splits.items() if name != "test" and part}
        objective, encoder = Headed(task, tuned), Encoder(tuned, outputs=True)
        dev = Questions(task, parts["dev"], encoder, size=size) if "dev" in parts else None

        def validate(module: nn.Module) -> float:
            assert dev is not None
            best = judge(objective.outputs, dev, labels, GREEDY, draws=5)[0][0]
            return best.value if best.better == "higher" else -best.value

        every = settings.validate_every or max(1, settings.steps // 10)
        train(
            objective,
            Questions(task, parts["train"], encoder, labels, size, settings.seed),
            replace(settings, validate_every=every),
            validate=validate if dev is not None else None,
            about=[data_stamp(splits[name].utterances) for name in parts] + [splits["train"].answers, size, labels],
            name=f"finetune {task.name}",
        )
    return tuned.eval()


def labels_to_learn(task: Task, model: Any, answers: Sequence[Any]) -> tuple[str, ...]:
    """What the head will say: what the answers hold, or all that the model's own head says, if that is among it.

    Example:
        >>> labels_to_learn(KEYWORDS, model, ["yes", "no", "yes"])
        ('no', 'yes')
    """
    labels, own = tuple(task.kind.labels(answers)), head_labels(model) if has_head(task, model) else ()
    # The blank of a CTC head stands first, or another head it is.
    blank = own[:1] == labels[:1] or BLANK not in labels
    return own if blank and set(labels) <= set(own) else labels


def start(task: Task, model: Any, labels: Sequence[str], seed: int) -> Any:
    """The model to train: its own head goes on where it has one for just these labels."""
    if has_head(task, model) and head_labels(model) == tuple(labels):
        return copy.deepcopy(model)
    blank = BLANK if labels[0] == BLANK else None
    phones = not task.kind.words
    return with_head(model, task.kind.head, labels, task=task.name, blank=blank, phones=phones, seed=seed)


def check_dropout(dropout: float | None, mask_time: float | None) -> None:
    """Refuse shares that are none."""
    for name, share in (("dropout", dropout), ("mask_time", mask_time)):
        if share is not None and not 0 <= share < 1:
            raise SottovoceError(f"{name}={share}, but a share is wanted: at least 0 and below 1.")


def set_dropout(model: Any, dropout: float | None, mask_time: float | None) -> None:
    """Dropout everywhere, and the share of frames that are masked in training, where they are given."""
    base: Any = Anatomy(model).base
    if mask_time == 0:
        model.config.apply_spec_augment = False
    elif mask_time is not None:
        model.config.apply_spec_augment, model.config.mask_time_prob = True, mask_time
        if getattr(base, "masked_spec_embed", None) is None:
            # Hugging Face makes it where the configuration masks, and so it will when this model is loaded again.
            first = torch.rand(Anatomy(model).setting("hidden_size"), device=base.device, dtype=base.dtype)
            base.masked_spec_embed = nn.Parameter(first)
    if dropout is None:
        return
    for key in ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "final_dropout"):
        if hasattr(model.config, key):
            setattr(model.config, key, dropout)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = dropout
        elif isinstance(getattr(module, "dropout", None), float):
            module.dropout = dropout


def in_memory(part: Material, folder: Any) -> Material:
    """A split with its audio decoded into one mapped file."""
    return Material(tuple(decoded(part.utterances, folder)), part.answers)


@contextmanager
def frozen_parts(model: Any, freeze: Sequence[str]) -> Iterator[None]:
    """Some parts take no gradients inside: `front_end`, `projection`, `positional`, `layers`, `layers.3`, `head`."""
    modules = [module for name in freeze for module in part(model, name)]
    frozen = [parameter for module in modules for parameter in module.parameters()]
    before = [parameter.requires_grad for parameter in frozen]
    # Hugging Face's front ends go by a flag of their own whether anything is kept for a backward pass.
    fronts = [module for module in modules if getattr(module, "_requires_grad", None) is True]
    for parameter in frozen:
        parameter.requires_grad_(False)
    for front in fronts:
        setattr(front, "_requires_grad", False)  # noqa: B010 (to the type checker it is a part, not a flag)
    try:
        yield
    finally:
        for parameter, flag in zip(frozen, before, strict=True):
            parameter.requires_grad_(flag)
        for front in fronts:
            setattr(front, "_requires_grad", True)  # noqa: B010


def part(model: Any, name: str) -> list[nn.Module]:
    """The modules of a part of a model by the name that users give it."""
    body = Anatomy(model)
    kind, _, number = name.partition(".")
    if kind not in PARTS or (number and (kind != "layers" or not number.isdigit() or int(number) >= len(body.layers))):
        raise unknown("part", name, [*PARTS, *(f"layers.{index}" for index in range(len(body.layers)))])
    inside = set(body.base.modules())
    final = get_part(body.base, body.family.final_norm)
    layers = [body.layers[index] for index in range(len(body.layers))]
    stack: list[Any] = [body.base.encoder] if body.mimics else layers  # of mimics, the norm that they share
    found: dict[str, list[Any]] = {
        "front_end": [getattr(body.base, name, None) for name in ("feature_extractor", "conv1", "conv2")],
        "projection": [get_part(body.base, path) for path in ("feature_projection", body.family.projection_norm)],
        "positional": [module for _, module in body.positional_convs()],
        "layers": [body.layers[int(number)]] if number else [*stack, final],
        "head": [child for child in model.children() if child not in inside and not inside & set(child.modules())],
    }
    return [module for module in found[kind] if isinstance(module, nn.Module)]


def get_part(base: Any, path: str | None) -> nn.Module | None:
    """A module by its path, if there is one."""
    try:
        return base.get_submodule(path) if path is not None else None
    except AttributeError:
        return None


def has_head(task: Task, model: Any) -> bool:
    """Whether a model's own head can be scored on a task: it was made for it here, or it is of its kind."""
    made_for = getattr(getattr(model, "config", None), TASK, None)
    if made_for:
        return made_for == task.name
    names = {"ForSequenceClassification": ("ForSequenceClassification", "ForAudioClassification")}
    fits = type(model).__name__.endswith(names.get(task.kind.head, (task.kind.head,)))
    labels = head_labels(model) if fits else ()
    return bool(labels) and (task.kind.head != "ForCTC" or BLANK in labels)


def can_score(task: Task, model: Any, data: Any) -> bool:
    """Whether a model is better judged by its own head than by a probe: it was made for the task, or elsewhere, and
    then it must know every answer."""
    if isinstance(model, LogMel) or not has_head(task, model):
        return False
    if getattr(model.config, TASK, None):
        return True
    if task.kind.verifies or not (task.kind.words or task.kind.pooled):
        return False  # a head for characters is not one for phones, nor one for words one for speakers
    answers = material(task, data)["test"].answers
    wanted = {token for answer in answers for token in answer} if task.kind.words else set(answers)
    known = {label.upper() for label in head_labels(model)} if task.kind.words else set(head_labels(model))
    # A recogniser may lack a rare letter.
    return len(wanted & known) >= (0.8 if task.kind.words else 1.0) * len(wanted)


def score_head(
    task: Task,
    model: Any,
    data: Sequence[Utterance],
    *,
    size: float = 16,
    limit: int | None = None,
    how: Decoding,
    seed: int = 0,
) -> list[Score]:
    """What a model's own head scores on the test split.

    Example:
        >>> score_head(KEYWORDS, tuned, data, how=Decoding())[0].metric
        'accuracy'
    """
    splits = material(task, data, limit=limit, seed=seed)
    require(task, splits, "test")
    labels = head_labels(model)
    if not has_head(task, model):
        raise SottovoceError(f"{type(model).__name__} has no head for {task.name}; fine-tune it first, or probe it.")
    check_answers(task, splits, labels, "test")
    headed = Headed(task, model)
    encoder = Encoder(model, outputs=True)
    with encoder.on(best_device()), encoder.exact():
        return judge(headed.outputs, Questions(task, splits["test"], encoder, size=size), labels, how)[0]
