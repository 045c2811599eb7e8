"""Every task on a corpus: a probe of log-mel, a probe of an untrained encoder, that encoder trained from nothing.

python benchmarks/tasks.py speech-mini@FOLDER
python benchmarks/tasks.py espeak:4

Rows that are in the record already are not made again; delete the record to begin anew.
"""

import resource
import sys
import time
from collections.abc import Callable
from typing import Any

from lib.records import made, probe_options, record

import sottovoce as sv
from sottovoce.models.front_end import LogMel

NEEDS = {"espeak": "espeak:4", "speech": "speech-mini@FOLDER"}


# A small encoder that learns something in minutes: 0.9 M parameters, log-mel in, norms before the layers.
SMALL: dict[str, Any] = {
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 512,
    "num_conv_pos_embeddings": 32,
    "num_conv_pos_embedding_groups": 4,
    "do_stable_layer_norm": True,
    "feat_proj_layer_norm": True,
    "layerdrop": 0.0,
}
CALM = {f"{name}_dropout": 0.0 for name in ("hidden", "attention", "activation", "feat_proj", "final")}
# Probes see at most so many utterances of a split where they read every frame.
PROBES: dict[str, dict[str, Any]] = {
    "phones": {"limit": 1000},
    "pr": {"limit": 1000, "batch": 16},
    "asr": {"limit": 1000, "batch": 16, "steps": 300},
    "keywords": {},
    "speakers": {},
    "verification": {},
    "emotion": {},
    "intents": {},
}
TRAININGS: dict[str, dict[str, Any]] = {
    "phones": {"steps": 600, "batch": 16},
    "pr": {"steps": 1200, "batch": 12},
    "asr": {"steps": 1200, "batch": 12},
    "keywords": {"steps": 800, "batch": 32},
    "speakers": {"steps": 600, "batch": 16},
    "verification": {"steps": 600, "batch": 16},
    "emotion": {"steps": 300, "batch": 16},
    "intents": {"steps": 300, "batch": 8},
}


def cpu_seconds() -> float:
    """Of this process, its threads included."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main(name: str) -> None:
    """All rows of a corpus."""
    corpus = name.partition("@")[0].partition(":")[0]
    file = f"tasks_{corpus.replace('-', '_')}"
    rows = made(file)
    data = sv.read_data(name)
    encoder = sv.new("melhubert", **SMALL, **CALM)
    for task in sv.TASKS:
        for kind, make in ways(task, encoder, data).items():
            if f"{task}, {kind}" in rows:
                continue
            begin, cpu = time.perf_counter(), cpu_seconds()
            measured = [m for m in make() if m.metric != "layer_weight"]
            rows[f"{task}, {kind}"] = {
                "seconds": round(time.perf_counter() - begin, 1),
                "cpu_seconds": round(cpu_seconds() - cpu, 1),
                "scores": {m.metric: {"value": m.value, "error": m.error, "n": m.n} for m in measured},
            }
            place = "@FOLDER" * ("@" in name)
            about = {"command": f"python benchmarks/tasks.py {name.partition('@')[0]}{place}", "trainings": TRAININGS}
            record(file, rows, **about, probes=PROBES, encoder_parameters=encoder.num_parameters())


def ways(task: str, encoder: Any, data: Any) -> dict[str, Callable[[], list[sv.Measurement]]]:
    """What is measured of a task, by name."""
    measure = sv.MEASURES[task]

    def trained() -> list[sv.Measurement]:
        steps, batch = TRAININGS[task]["steps"], TRAININGS[task]["batch"]
        model = sv.finetune(encoder, data, task=task, train={"steps": steps, "lr": 2e-3}, batch=batch, freeze=[])
        return measure(model, data, mode="head")

    return {
        "log-mel, probe": lambda: measure(LogMel(), data, **probe_options(PROBES[task])),
        "untrained, probe": lambda: measure(encoder, data, mode="probe", **probe_options(PROBES[task])),
        "trained from nothing": trained,
    }


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "espeak:4")
