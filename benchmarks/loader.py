"""Batches of speech against a plain loop over the same files with soundfile, for FLAC and Opus."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from lib.records import ratio, record

from sottovoce.data.batches import Speech, ahead, decoded
from sottovoce.data.corpora import espeak
from sottovoce.data.utterance import Utterance
from sottovoce.models.encoder import Encoder
from sottovoce.models.front_end import LogMel
from sottovoce.timing import in_turns

NEEDS = {"espeak": ""}
FORMATS = {"flac": {"format": "FLAC"}, "opus": {"format": "OGG", "subtype": "OPUS"}}


def write(folder: Path, kind: str) -> list[Utterance]:
    """Half of the embedded corpus's read speech as files of a kind."""
    found = []
    for utterance in espeak.make(tasks=["read"], size=0.5):
        path = folder / f"{utterance.id}.{kind}"
        soundfile.write(str(path), np.asarray(utterance.audio), 16_000, **FORMATS[kind])
        found.append(Utterance(utterance.id, path, utterance.seconds))
    return found


def main() -> None:
    """Both formats, from files and from the mapped file that `decoded` makes."""
    rows: dict[str, Any] = {}
    encoder = Encoder(LogMel())
    for kind in FORMATS:
        with tempfile.TemporaryDirectory() as name:
            utterances = write(Path(name), kind)
            once = decoded(utterances, Path(name) / "cache")
            seconds = sum(utterance.seconds for utterance in utterances)

            def run(data: list[Utterance]) -> None:
                source = Speech(data, collate=lambda _, audio: encoder.inputs(audio), batch_seconds=60.0, seed=0)
                plan = source.plan(0)
                for _ in ahead(source.load, plan):
                    pass

            def plain(data: list[Utterance] = utterances) -> None:
                for utterance in data:
                    soundfile.read(str(utterance.audio), dtype="float32")

            functions = {"plain": plain, "files": lambda u=utterances: run(u), "mapped": lambda o=once: run(o)}
            times = in_turns(functions, rounds=15, warm_up=1)
            for new in ("files", "mapped"):
                row = ratio(times, new, "plain")
                row |= {f"{n}_audio_s_per_s": seconds / row[f"{n}_median_s"] for n in (new, "plain")}
                rows[f"{kind}, {new}"] = row
    record("loader", rows)


if __name__ == "__main__":
    main()
