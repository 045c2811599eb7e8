"""Write `docs/results.md` from the records in `benchmarks/records`; a test compares the two."""

import json
from pathlib import Path
from typing import Any

RECORDS = Path(__file__).parent / "records"
PAGE = Path(__file__).parents[1] / "docs" / "results.md"

TEXT = """# Results

Every number on this page comes from a stored record in `benchmarks/records`, and each table names the command that
makes it. `python benchmarks/write_results.py` writes the page; nothing is typed by hand. The weights are random: what
is here is about shapes, exactness and speed.

## Counts

{counts_about}

{counts}

The counts on SUPERB's utterances are 0.2 % to 0.3 % below the published ones, whose profiler also counts additions and
rounds otherwise. MelHuBERT's published parameters include its head over 512 clusters.

## Padding

{padding_about}

The relative error of the shorter utterance of a padded batch against the same utterance alone, both with an attention
mask: two layers of each family's own base shape, noise as input.

{padding}

Known are the group norms. That data2vec (stacked positional convolutions), SEW (pooling over an odd last frame) and the
Conformer (depthwise convolutions that ignore the mask) leak as well, with a mask, we have not seen said elsewhere.

## Overhead of an unedited model

{overhead_about}

Time through sottovoce over time through Hugging Face alone, in turns: the median over {rounds} rounds and its 95 %
interval. The second column times the same Hugging Face model loaded twice: it is the noise of the machine.

{overhead}

Of WavLM, sottovoce replaces the attention; of the others it replaces nothing, so a ratio of 1 is what is wanted. "Exact
padding" is the switch turned on, without padding in the batch.

## WavLM's attention

{wavlm_about}

Time of sottovoce's attention over Hugging Face's, in turns; outputs agree within 1e-5 (`tests/test_wavlm.py`).

{wavlm}

One layer at 10 s must spend {products} multiply-accumulates on products of matrices, whichever way it is written. What
the fused path saves is the traffic of the maps, which grows with the square of the length, and the bias of each layer,
which is looked up by distance once and not by pair.
"""


def read(name: str) -> dict[str, Any]:
    """A stored record."""
    return json.loads((RECORDS / f"{name}.json").read_text(encoding="utf-8"))


def about(record: dict[str, Any]) -> str:
    """How and on what a record was made."""
    return (
        f"Made by `{record['command']}` on {record['date']} ({record['machine']}, torch {record['torch']}, "
        f"transformers {record['transformers']})."
    )


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; all columns but the first are numbers."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: float) -> str:
    """A count in full, a measured value in four digits."""
    return f"{value:,}".replace(",", " ") if isinstance(value, int) else f"{value:.4g}"


def interval(row: dict[str, float]) -> str:
    """A ratio with its interval."""
    return f"{row['ratio']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def render() -> str:
    """The whole page."""
    counts, padding, overhead, wavlm = (read(name) for name in ("counts", "padding", "overhead", "wavlm"))
    pairs = [[name, number(row["published"]), number(row["counted"])] for name, row in counts["rows"].items()]
    errors = [[name, f"{r['hugging_face']:.1e}", f"{r['exact_padding']:.1e}"] for name, r in padding["rows"].items()]
    columns = ("hugging_face_again", "sottovoce", "exact_padding")
    ratios = [[shape, *(interval(row[name]) for name in columns)] for shape, row in overhead["rows"].items()]
    first = next(iter(overhead["rows"].values()))
    return TEXT.format(
        counts_about=about(counts),
        counts=table(["", "published", "counted"], pairs),
        padding_about=about(padding),
        padding=table(["family", "Hugging Face", "exact padding"], errors),
        overhead_about=about(overhead),
        rounds=first["sottovoce"]["rounds"],
        overhead=table(["shape, 2 s", "Hugging Face twice", "sottovoce", "exact padding"], ratios),
        wavlm_about=about(wavlm),
        products=f"{wavlm['rows']['attention of one layer, batch 1, 10 s']['macs'] / 1e9:.2f} G",
        wavlm=table(["", "ratio"], [[name, interval(row)] for name, row in wavlm["rows"].items()]),
    )


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
