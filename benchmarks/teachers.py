"""What each layer of the bundled teachers knows, beside the same model with random weights, and log-mel features.

python benchmarks/teachers.py MODEL CORPUS...

MODEL is log-mel or a teacher's name; without it all are measured, one after another. The corpora of the stored records
are speech-mini@FOLDER and espeak:4. Rows that are in the record already are not made again; delete the record to begin
anew.
"""

import sys
import time
from typing import Any

from lib.corpora import shown
from lib.records import made, probe_options, record
from lib.tables import read, there

import sottovoce as sv
from sottovoce.models.front_end import LogMel
from sottovoce.models.teachers import TEACHERS, WHOLE, teacher_names

NEEDS = {"espeak speech": "speech-mini@FOLDER espeak:4"}


# Phones until more updates bring nothing; a phone error rate to compare layers by, from few utterances.
PROBES: dict[str, dict[str, Any]] = {
    "phones": {"steps": 3000, "lr": 5e-3},
    "pr": {"limit": 300, "steps": 300, "batch": 16, "lr": 1e-2},
    "keywords": {"steps": 500},
    "speakers": {"steps": 500},
    "emotion": {"steps": 500},
}
LOG_MEL = "log-mel"
# What neighbouring filters say is much the same, so that a head on them learns slowly: it is given its time as well.
LONGER = {"phones longer": {"steps": 10_000, "lr": 2e-2}}


def untrained(name: str) -> Any:
    """A teacher's shape with random weights; log-mel features are calibrated as the teacher's are."""
    model, teacher = sv.new(name), sv.load(name)
    if isinstance(teacher.feature_extractor, LogMel):
        for statistic in ("mean", "std"):
            getattr(model.feature_extractor, statistic).copy_(getattr(teacher.feature_extractor, statistic))
    return model


def main(name: str, corpora: list[str]) -> None:
    """All rows of a model."""
    file = f"teachers_{name.replace('-', '_')}"
    teacher = None if name == LOG_MEL else name
    stored = read(file)["rows"] if there(file) else {}
    # Random weights are the same whatever the teacher has learnt since.
    rows = made(file, teacher=teacher) or {key: row for key, row in stored.items() if key.startswith("random")}
    probes = {**PROBES, **(LONGER if teacher is None else {})}
    ways = {"features": LogMel()} if name == LOG_MEL else {"pretrained": sv.load(name), "random": untrained(name)}
    corpus_names = {corpus: corpus.partition("@")[0].partition(":")[0] for corpus in corpora}
    for way, model in ways.items():
        for corpus, short in corpus_names.items():
            data = sv.read_data(corpus)
            for probe, options in probes.items():
                key, task = f"{way}, {short}, {probe}", probe.partition(" ")[0]
                if key in rows:
                    continue
                begin = time.perf_counter()
                measured = sv.MEASURES[task](model, data, mode="probe", layer="each", **probe_options(options))
                scores: dict[str, list[dict[str, Any]]] = {}
                for m in measured:
                    layer = {"layer": m.at("state"), "value": m.value, "error": m.error, "n": m.n}
                    scores.setdefault(m.metric, []).append(layer)
                rows[key] = {"seconds": round(time.perf_counter() - begin, 1), "scores": scores}
                places = " ".join(map(shown, corpora))
                command = f"python benchmarks/teachers.py {name} {places}"
                record(file, rows, command=command, teacher=teacher, probes=probes)


if __name__ == "__main__":
    first, *rest = sys.argv[1:] or ["espeak:4"]
    names = [LOG_MEL, *(name for name in teacher_names() if (TEACHERS / name / WHOLE).is_file())]
    if first in names:
        main(first, rest or ["espeak:4"])
    else:
        for each in names:
            main(each, [first, *rest])
