"""The speech that exported models are judged on, and what the model itself says of it in PyTorch."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sottovoce.data.batches import samples
from sottovoce.data.corpora.espeak_words import KEYWORDS
from sottovoce.data.espeak import Voice, speak
from sottovoce.data.utterance import Utterance
from sottovoce.exporting.order import Order, Run, Said
from sottovoce.models.encoder import Encoder
from sottovoce.models.heads import head_labels
from sottovoce.runtimes.graph import Graph, replace_bytes
from sottovoce.runtimes.pytorch import in_pytorch
from sottovoce.studies.speech import recordings
from sottovoce.tasks import TASKS
from sottovoce.tasks.finetune import can_score
from sottovoce.tasks.kinds import GREEDY, Score
from sottovoce.tasks.task import Task, material

HEARD = 100  # utterances at most: a model that is wrong is so on the first
SENTENCES = (
    "The old captain carried a wooden box to the harbour this morning.",
    "Nobody noticed the yellow bird behind the theatre.",
    "Her cousin measured two pears and a jar of fresh juice.",
)
VOICES = (Voice("en-us"), Voice("en-gb", "f1", 60, 70, 160), Voice("en-gb-scotland", "m3", 40, 50, 190))


@dataclass(frozen=True)
class Speech:
    """Audio, and where it has answers to what a model's head was made for, that task and these.

    Example:
        >>> len(Speech((np.zeros(16_000, np.float32),), None, ()).audio)
        1
    """

    audio: tuple[np.ndarray, ...]
    task: Task | None
    answers: tuple[Any, ...]


def speech_for(order: Order) -> Speech:
    """The test utterances of the order's data, with the answers that the model's head is for; else espeak's speech.

    Example:
        >>> speech_for(Order(model, "small-hubert")).task is None
        True
    """
    if order.data is None:
        spoken = [speak(text, voice)[0] for text in (*SENTENCES, *KEYWORDS[:3]) for voice in VOICES]
        return Speech(tuple(order.fitted(piece) for piece in spoken), None, ())
    data: Sequence[Utterance] = order.data
    for task in TASKS.values():
        if can_score(task, order.model, data):
            found = material(task, data, limit=HEARD)["test"]
            audio = tuple(order.fitted(samples(utterance)) for utterance in found.utterances)
            return Speech(audio, task, found.answers)
    chosen = recordings(data, what="export's check", limit=HEARD)
    return Speech(tuple(order.fitted(samples(utterance)) for utterance in chosen), None, ())


def wanted_of(model: Any) -> Run:
    """The model itself, one utterance at a time, by its own feature extractor: what every export must say too.

    One that is quantised goes by the numbers that its bytes stand for, as its graph does.

    Example:
        >>> wanted_of(model)([samples])[0]["log_probs"].shape
        (49, 32)
    """
    model = copy.deepcopy(model).cpu().float().eval()
    replace_bytes(model)
    one = in_pytorch(model)

    def run(audio: Sequence[np.ndarray]) -> Said:
        found = [one(piece) for piece in audio]
        return [{name: value for name, value in row.items() if name != "probabilities"} for row in found]

    return run


def scored(order: Order, graph: Graph, speech: Speech, said: Said) -> Score | None:
    """The task's score of what was said, if there is a task.

    Example:
        >>> scored(order, graph, speech, run(speech.audio)).metric
        'accuracy'
    """
    if speech.task is None:
        return None
    kind, encoder = speech.task.kind, Encoder(order.model, outputs=True)
    main = next(name for name in ("log_probs", "logits", "embeddings") if name in graph.outputs)
    rows = [torch.from_numpy(row[main]) for row in said]
    counts = encoder.counts(speech.audio)
    output = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True) if main == "log_probs" else torch.stack(rows)
    answers = kind.read(output, torch.tensor(counts), GREEDY, head_labels(order.model))
    return kind.score(answers, list(speech.answers), [encoder.centers(count) for count in counts], draws=200)[0]
