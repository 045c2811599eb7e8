"""Batches of speech as student and teacher hear it, and the teacher's states on the disk."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from sottovoce.data.audio import SAMPLE_RATE
from sottovoce.data.batches import Speech
from sottovoce.data.shelf import Shelf
from sottovoce.data.utterance import Utterance
from sottovoce.distillation.objective import PairedBatch, layer_states
from sottovoce.distillation.plan import Distillation
from sottovoce.hearing import shelved
from sottovoce.models.encoder import Encoder, Inputs
from sottovoce.pretraining.crops import crops
from sottovoce.training import Training

MOST_BYTES = 4e9  # of states that are kept without being asked for
FEW_EPOCHS = 2.0


def speech_of_both(
    student: Encoder,
    teacher: Encoder,
    utterances: Sequence[Utterance],
    plan: Distillation,
    *,
    shelf: Shelf | None = None,
    seed: int | None = None,
) -> Speech:
    """Batches of audio for both models, or where the teacher's states are kept, for the student with these.

    With a seed, which means for training, the utterances of a batch are cut to the length of the shortest, each
    somewhere: they are of similar length, so little is lost, and no frame is padding. The teacher hears the same cuts;
    the states that are kept are of whole utterances, so that its attention saw more than the cut.

    Example:
        >>> source = speech_of_both(student, teacher, utterances, plan, seed=0)
        >>> heard = source.load(source.plan(0)[0])
    """
    shift = student.field()[1]

    def collate(chosen: Sequence[Utterance], audio: list[np.ndarray]) -> PairedBatch:
        counts = student.counts(audio)
        begins = [0] * len(audio)
        if seed is not None:
            audio, begins, count = crops(student, chosen, audio, seed)
            counts = [count] * len(audio)
        inputs, frames = student.inputs(audio), torch.tensor(counts)
        if shelf is None:
            theirs = torch.tensor(teacher.counts(audio))
            return PairedBatch(inputs, frames, teacher.inputs(audio), theirs)
        kept = []
        for utterance, begin, count in zip(chosen, begins, counts, strict=True):
            rows = shelf[utterance.id]
            places = teacher.nearest(student.centers(count) + begin * shift / SAMPLE_RATE)
            kept.append(torch.from_numpy(rows[places.clip(0, len(rows) - 1)]))
        return PairedBatch(inputs, frames, {}, frames, torch.nn.utils.rnn.pad_sequence(kept, batch_first=True))

    return Speech(utterances, collate, plan.batch_seconds, seed)


def pays(plan: Distillation, teacher: Encoder, learnt: Sequence[Utterance], states: int, settings: Training) -> bool:
    """Whether the teacher's states are to be kept: as the plan says, or where each is needed often and all are few.

    Example:
        >>> pays(Distillation(cache=True), teacher, utterances, 3, Training())
        True
    """
    if plan.cache is not None:
        return plan.cache
    heard = settings.steps * settings.accumulate * plan.batch_seconds
    return plan.loss != "arm" and worth_keeping(teacher, learnt, states, heard)


def worth_keeping(teacher: Encoder, learnt: Sequence[Utterance], states: int, heard: float) -> bool:
    """Whether so many seconds of training need each state again and again, and all together are few enough to keep.

    Example:
        >>> worth_keeping(Encoder(teacher), utterances, 1, heard=36_000)
        True
    """
    seconds = sum(utterance.seconds for utterance in learnt)
    size = seconds * SAMPLE_RATE / teacher.field()[1] * states * teacher.width * 2
    return heard / seconds > FEW_EPOCHS and size < MOST_BYTES


def kept_states(
    teacher: Encoder, layers: Sequence[int], utterances: Sequence[Utterance], folder: Path, plan: Distillation
) -> Shelf:
    """The teacher's states of every utterance, as float16 (frames, states, width) in a folder; a pass goes on.

    Example:
        >>> kept_states(Encoder(teacher), [6, 12], utterances, folder, plan)["a-1"].shape
        (49, 2, 768)
    """

    def ask(inputs: Inputs) -> Sequence[torch.Tensor]:
        seen = layer_states(teacher, inputs, outputs=plan.outputs)
        return seen if plan.outputs else [seen[layer] for layer in layers]

    named = [teacher.depth - 1] if plan.outputs else layers
    of = f"read with outputs {plan.outputs}"
    return shelved(teacher, ask, named, utterances, folder, of=of, doing="asking the teacher", precision=plan.precision)
