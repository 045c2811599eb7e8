"""What context windows need: long recordings heard in windows, against the same recordings heard whole.

python benchmarks/streaming.py CORPUS [RUNS]

The text is that of two models of recipes/small-melhubert-pr.yaml, one trained and heard on CORPUS, where it knows
little, and one on espeak's speech, where it knows most (runs of them that lie in RUNS are not trained again); of
encoders it is how far their last states are from those of the whole. Test utterances one after the other, by speaker,
make recordings of a minute. The stored record is of speech-mini@FOLDER.
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from lib.corpora import shown
from lib.records import record

import sottovoce as sv
from sottovoce.data.batches import samples
from sottovoce.streaming.stream import CHUNK, LEFT
from sottovoce.tasks import TASKS
from sottovoce.tasks.scores import edit_tally, ratio_interval
from sottovoce.tasks.task import material
from sottovoce.timing import seconds_of, thread_count

NEEDS = {"speech": "speech-mini@FOLDER"}
SPOKEN, CHANGES = "espeak:2", {"steps.0.train.steps": 300, "steps.1.train.steps": 1200}
RECIPE, ENCODERS = "small-melhubert-pr", ("small-melhubert", "small-hubert")
LENGTH, MOST, FEW = 60.0, 24, 4  # seconds of a recording, and how many for text and for states
CHUNKS, CONTEXTS = (10.0, 20.0), (0.0, 1.0, 2.0, 4.0)


def recordings(corpus: str) -> list[tuple[np.ndarray, list[str]]]:
    """About a minute each, speaker by speaker, with the phones that are said."""
    found: list[tuple[np.ndarray, list[str]]] = []
    test = material(TASKS["pr"], sv.read_data(corpus))["test"]
    pieces: list[np.ndarray] = []
    phones: list[str] = []
    for utterance, answer in sorted(
        zip(test.utterances, test.answers, strict=True), key=lambda row: row[0].speaker or ""
    ):
        pieces.append(samples(utterance))
        phones += answer
        if sum(map(len, pieces)) >= LENGTH * 16_000:
            found.append((np.concatenate(pieces), phones))
            pieces, phones = [], []
    return found[:: max(1, len(found) // MOST)][:MOST]


def heard(model: Any, audio: list[np.ndarray], chunk: float, context: float) -> list[list[str]]:
    """The tokens of each recording."""
    stream = sv.stream(model, chunk=chunk, left=context, right=context)
    return [[token.label for part in stream(piece) for token in part.tokens] for piece in audio]


def states(model: Any, audio: list[np.ndarray], chunk: float, context: float) -> list[np.ndarray]:
    """The last states of each recording."""
    stream = sv.stream(model, chunk=chunk, left=context, right=context)
    last = f"state_{model.config.num_hidden_layers}"
    return [np.concatenate([part.outputs[last] for part in stream(piece)]) for piece in audio]


def rows_of(
    ask: Callable[[float, float], Any], compare: Callable[[Any, Any], dict[str, float]]
) -> list[dict[str, Any]]:
    """One row for each window and context: what differs from the whole, and the time against that of the whole."""

    def timed(chunk: float, context: float) -> tuple[Any, float]:
        said: list[Any] = []
        return said, seconds_of(lambda: said.append(ask(chunk, context)))

    (whole,), base = timed(2 * LENGTH, 0.0)
    rows: list[dict[str, Any]] = [{"chunk": None, "context": None, **compare(whole, whole), "time": 1.0}]
    for chunk in CHUNKS:
        for context in CONTEXTS:
            (found,), taken = timed(chunk, context)
            rows.append({"chunk": chunk, "context": context, **compare(whole, found), "time": taken / base})
            print(rows[-1], flush=True)
    return rows


def edited(wanted: list[list[str]], whole: list[list[str]], found: list[list[str]]) -> dict[str, float]:
    """The share of tokens that differ from those of the whole, and of those that are wrong, each with its interval."""
    value, error = ratio_interval(edit_tally(whole, found))
    wrong, about = ratio_interval(edit_tally(wanted, found))
    tokens = {"tokens": sum(map(len, whole)), "said": sum(map(len, wanted))}
    return {"value": value, "error": error, "wrong": wrong, "wrong_error": about, **tokens}


def moved(whole: list[np.ndarray], found: list[np.ndarray]) -> dict[str, float]:
    """The root mean square of the difference, in parts of that of the states about their mean."""
    ours, theirs = np.concatenate(whole), np.concatenate(found)
    return {"value": float(np.linalg.norm(theirs - ours) / np.linalg.norm(ours - ours.mean(0)))}


def main(corpus: str, runs: str = "runs") -> None:
    """A table a model."""
    rows = dict[str, Any]()
    recipe = sv.Recipe.from_yaml(Path(__file__).resolve().parents[1] / "recipes" / f"{RECIPE}.yaml")
    lengths: dict[str, int] = {}
    with thread_count(1):
        for name, data, given in (("own", corpus, {}), ("espeak", SPOKEN, {"data": SPOKEN, "changes": CHANGES})):
            (run,) = sv.run(recipe, Path(runs), **given)
            assert run.model is not None
            found = recordings(data)
            audio, wanted = [piece for piece, _ in found], [phones for _, phones in found]
            lengths[name], model = len(audio), sv.load(str(run.model))
            ask = partial(heard, model, audio)
            rows[f"phones, {shown(data)}"] = rows_of(ask, partial(edited, wanted))
        audio = [piece for piece, _ in recordings(corpus)[:FEW]]
        for name in ENCODERS:
            rows[f"states, {name}"] = rows_of(partial(states, sv.load(name), audio), moved)
    about = {"seconds": LENGTH, "recordings": lengths, "few": FEW, "default": {"chunk": CHUNK, "context": LEFT}}
    record("streaming", rows, command=f"python benchmarks/streaming.py {shown(corpus)}", **about)


if __name__ == "__main__":
    main(*sys.argv[1:])
