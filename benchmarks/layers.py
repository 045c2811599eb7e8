"""What `analyze` finds in the bundled teachers: layers, concepts and heads, for the results beside the papers'.

python benchmarks/layers.py CORPUS MODEL...

The stored records are of speech-mini@FOLDER, the teachers, and a teacher that was fine-tuned for keywords (with the
effect of its heads on that task, and the convexity of its own answers).
"""

import sys
from typing import Any

from lib.corpora import shown
from lib.records import record

import sottovoce as sv
from sottovoce.analyses import steps_of
from sottovoce.models.teachers import TEACHERS, WHOLE
from sottovoce.registry import MEASURES
from sottovoce.tasks import TASKS
from sottovoce.tasks.finetune import can_score

NEEDS = {"speech": "speech-mini@FOLDER small-hubert small-melhubert small-melhubert-keywords"}
CONCEPTS = ["keywords", "speakers", "phones", "emotion", "intents"]


def main(corpus: str, names: list[str]) -> None:
    """A record a model."""
    data = sv.read_data(corpus)
    for name in names:
        model = sv.load(name)
        tuned = [task for task in CONCEPTS if can_score(TASKS[task], model, data)]
        parts: list[tuple[str, dict[str, Any]]] = [
            ("similarity", {}),
            ("convexity", {"of": [*CONCEPTS, *(["predictions"] if tuned else [])]}),
            ("attention", {"effect": tuned[0]} if tuned else {}),
        ]
        rows = []
        for measure, options in steps_of(parts, data):
            rows += MEASURES[measure](model, data, **options)
        # Classes are many and their mean is what is told.
        kept = [
            [row.measure, row.metric, dict(row.where), round(row.value, 6), row.error and round(row.error, 6), row.n]
            for row in rows
            if row.metric != "class"
        ]
        place = shown(corpus)
        teacher = name if (TEACHERS / name / WHOLE).is_file() else None
        command = f"python benchmarks/layers.py {place} {name}"
        record(f"layers_{name.replace('-', '_')}", kept, command=command, teacher=teacher)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
