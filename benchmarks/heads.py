"""What the bundled fine-tuned models score with their own heads, as they are loaded.

python benchmarks/heads.py CORPUS...

The stored record is of speech-mini@FOLDER and espeak:4.
"""

import sys
from typing import Any

from lib.corpora import shown
from lib.records import record

import sottovoce as sv
from sottovoce.models.heads import TASK
from sottovoce.models.teachers import DIFFERENCE, TEACHERS, teacher_names

NEEDS = {"espeak speech": "speech-mini@FOLDER espeak:4"}


def main(corpora: list[str]) -> None:
    """A row a model and corpus."""
    rows: dict[str, Any] = {}
    for name in teacher_names():
        if not (TEACHERS / name / DIFFERENCE).is_file():
            continue
        model = sv.load(name)
        size = sum(path.stat().st_size for path in (TEACHERS / name).iterdir())
        for corpus in corpora:
            task = getattr(model.config, TASK)
            measured = sv.MEASURES[task](model, sv.read_data(corpus), mode="head")
            scores = {row.metric: {"value": row.value, "error": row.error, "n": row.n} for row in measured}
            rows[f"{name}, {corpus.partition('@')[0].partition(':')[0]}"] = {"scores": scores, "bytes": size}
    places = " ".join(map(shown, corpora))
    record("heads", rows, command=f"python benchmarks/heads.py {places}")


if __name__ == "__main__":
    main(sys.argv[1:] or ["espeak:4"])
