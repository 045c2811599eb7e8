"""Layers dropped one after the other by how little they change, scored anew each time, without and with healing.

python benchmarks/healed.py CORPUS

The stored record is of speech-mini@FOLDER: accuracy of keywords on the test split by how many layers are gone.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

from lib.corpora import of_task, shown
from lib.records import record

import sottovoce as sv
from sottovoce.files import working_in

NEEDS = {"speech": "speech-mini@FOLDER"}
MODEL, BY, MOST, HEAL = "small-melhubert-keywords", "bi", 9, 60
WAYS: dict[str, dict[str, Any]] = {
    "scored anew": {"rescore": True},
    "scored anew, healed": {"heal": {"steps": HEAL, "lr": 2e-4, "batch": 16}},
}


def main(corpus: str) -> None:
    """One row a way."""
    data = of_task(corpus, "keywords")
    rows: dict[str, Any] = {}
    for name, options in WAYS.items():
        model, found = sv.load(MODEL), list[dict[str, Any]]()
        for gone in range(MOST + 1):
            if gone:
                with tempfile.TemporaryDirectory() as folder, working_in(Path(folder)):
                    model = sv.drop_layers(model, data, drop=1, by=BY, task="keywords", **options)
            score = sv.MEASURES["keywords"](model, data, mode="head")[0]
            found.append({"gone": gone, "value": score.value, "error": score.error, "n": score.n})
        rows[name] = found
    about = {"model": MODEL, "by": BY, "heal": HEAL}
    record("healed", rows, command=f"python benchmarks/healed.py {shown(corpus)}", **about)


if __name__ == "__main__":
    main(sys.argv[1])
