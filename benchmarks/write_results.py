"""Write `docs/results.md` from the records in `benchmarks/records`; a test compares the two."""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from lib import deployed_tables as deployed  # noqa: E402
from lib import gate_tables as gates  # noqa: E402
from lib import layer_tables as layers  # noqa: E402
from lib import method_tables as methods  # noqa: E402
from lib import sharing_tables as sharing  # noqa: E402
from lib import teacher_tables as teachers  # noqa: E402 (it lies beside this file, which a test loads from elsewhere)
from lib.tables import about, interval, number, percent, read, table, there  # noqa: E402
from lib.teacher_text import FEWER, HEADS, NO_PROBES, PROBES  # noqa: E402
from lib.teacher_text import TEXT as TEACHERS_TEXT  # noqa: E402

NEEDS = {"nothing": ""}
PAGE = Path(__file__).parents[1] / "docs" / "results.md"
PICTURES = PAGE.parent / "images"

TEXT = """# Results

Every number on this page comes from a stored record in `benchmarks/records`, and each table names the command that
makes it. `python benchmarks/write_results.py` writes the page; nothing is typed by hand. Where nothing else is said the
weights are random: what is here is about shapes, exactness and speed. The [tasks](#tasks) come from trained heads, and
the [teachers](#the-teachers) are pretrained.

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

## Tasks

What heads learn from three things that no pretraining has touched: log-mel features, a small encoder with random
weights ({parameters} parameters: log-mel in, 4 layers of 128), and that encoder trained for the task from nothing, for
minutes. They show that every task runs from the recording to the score, what the scores of a model that knows nothing
are, and that the loop learns; pretrained encoders will be measured against them. `±` is half of a 95 % bootstrap
interval, `n` the number of test utterances (pairs for verification).

### Real speech

{mini_about}

{mini}

`speech-mini` is hard speech and little of it: English of Chinese speakers, half of them children, with forced
alignments; Arabic keywords; German emotions, cut after two seconds. Speakers of the test split are not in the train
split, except for `speakers`, and perhaps `intents`, whose speakers are not known. Probes of `phones`, `pr` and `asr`
saw 1 000 utterances of a split, the trained models all.

Rows at the level of guessing are what they seem: minutes from random weights are enough for a dozen keywords, and
neither for words, nor for 250 speakers by one label an utterance (the loss stayed at log 250), nor for the few hundred
utterances with emotions and intents. A linear probe of features that are there from the start needs far less.

### Synthetic speech

{espeak_about}

{espeak}

The test voices of `espeak` are not in the train split (except for `speakers`). The phone recogniser, {ctc_steps}
updates from nothing, took {ctc_cpu} s of one CPU core, scoring included.

## The loader

{loader_about}

Time to make padded batches of 60 s from all utterances, over the time of a plain loop that only decodes the same files
with soundfile, in turns; the median over {loader_rounds} rounds and its 95 % interval.

{loader}

"Files" decodes with two threads and pads; "mapped" reads what `decoded` keeps. What such a pass must do at least is to
decode, which the plain loop does on one core.

## A step of training

{step_about}

Time of the training loop over the same steps written by hand in PyTorch (forward, backward, clipping, AdamW), in turns;
the first column times the hand-written steps twice: it is the noise of the machine.

{step}
"""

WAYS = ("log-mel, probe", "untrained, probe", "trained from nothing")


def scores(record: dict[str, Any]) -> str:
    """A table of the tasks of a corpus: a row for each metric."""
    lines = []
    for task in dict.fromkeys(name.partition(",")[0] for name in record["rows"]):
        cells = [record["rows"][f"{task}, {way}"]["scores"] for way in WAYS]
        for metric in cells[0]:
            row = [f"{task}, {metric.replace('_', ' ')}"]
            row += [percent(cell[metric]["value"], cell[metric]["error"]) for cell in cells]
            lines.append([*row, number(cells[-1][metric]["n"])])
    return table(["", *(way.replace(",", ":") for way in WAYS), "n"], lines)


def fewer(corpus: str) -> str:
    """By how much the teachers beat log-mel on phones, with its longer probe and with that of the teachers."""

    def said(probe: str) -> str:
        return " and ".join(f"{100 * teachers.gain(name, corpus, probe):.1f} % ({name})" for name in teachers.TEACHERS)

    same = percent(teachers.log_mel_phones(corpus, "phones"))
    return FEWER.format(longer=said(teachers.LONGER["phones"]), same=same, equal=said("phones"))


def render_probes() -> str:
    """What the teachers' layers know."""
    if not teachers.probed():
        return NO_PROBES
    tables = {f"teachers_{c.split('-')[-1]}": table(*teachers.summary(c)) for c in teachers.CORPORA}
    gains = {f"gains_{corpus.split('-')[-1]}": fewer(corpus) for corpus in teachers.CORPORA}
    parts = []
    for name in teachers.TEACHERS:
        for corpus in teachers.CORPORA:
            picture = f"![Probes of {name} on {corpus}](images/{name}-{corpus}.svg)"
            parts += [f"#### {name} on {corpus}", picture, table(*teachers.by_layer(name, corpus))]
    records = [teachers.read(f"teachers-{name}") for name in ("log-mel", *teachers.TEACHERS)]
    made = " ".join(about(record) for record in records)
    log_mel, own = (record["probes"] for record in records[:2])
    settings = {
        "phones": number(own["phones"]["steps"]),
        "log_mel_phones": number(log_mel[teachers.LONGER["phones"]]["steps"]),
        "pr": own["pr"]["steps"],
        "pr_heard": own["pr"]["limit"],
    }
    return PROBES.format(**tables, **gains, **settings, teachers_about=made, layers="\n\n".join(parts))


def render_heads() -> str:
    """What the fine-tuned models score."""
    if not there("heads"):
        return ""
    record = read("heads")
    lines = []
    for name, row in record["rows"].items():
        for metric, score in row["scores"].items():
            value = percent(score["value"], score["error"])
            lines.append([name, metric.replace("_", " "), value, number(score["n"]), f"{row['bytes'] / 1e6:.1f} MB"])
    header = ["", "metric", "score", "n", "stored in"]
    return HEADS.format(heads_about=about(record), heads=table(header, lines))


def render_teachers() -> str:
    """The part about the teachers."""
    curves = [table(teachers.UNITS_HEADER, [row for name in teachers.TEACHERS for row in teachers.units_of(name)])]
    for name in teachers.TEACHERS:
        curves += [f"![{kind} of {name}](images/{name}-{kind}.svg)" for kind in ("loss", "accuracy")]
    return TEACHERS_TEXT.format(
        probes=render_probes(),
        heads=render_heads(),
        curves_about=" ".join(about(r) for n in teachers.TEACHERS for r in teachers.read(f"pretraining-{n}")["runs"]),
        curves="\n\n".join(curves),
        throughput_about=about(teachers.read("pretraining")),
        throughput=table(*teachers.throughput()),
    )


def render() -> str:
    """The whole page."""
    analysis = layers.render_analysis()
    pruned = f"{methods.render_methods()}{gates.render_gates()}{sharing.render_sharing()}{deployed.render()}"
    return f"{render_rest()}\n{render_teachers()}\n{analysis}{pruned}"


def render_rest() -> str:
    """All but the teachers and analyses."""
    counts, padding, overhead, wavlm = (read(name) for name in ("counts", "padding", "overhead", "wavlm"))
    pairs = [[name, number(row["published"]), number(row["counted"])] for name, row in counts["rows"].items()]
    errors = [[name, f"{r['hugging_face']:.1e}", f"{r['exact_padding']:.1e}"] for name, r in padding["rows"].items()]
    columns = ("hugging_face_again", "sottovoce", "exact_padding")
    ratios = [[shape, *(interval(row[name]) for name in columns)] for shape, row in overhead["rows"].items()]
    first = next(iter(overhead["rows"].values()))
    mini, espeak, loader, step = (read(name) for name in ("tasks_speech_mini", "tasks_espeak", "loader", "step"))
    speeds = [
        [name, interval(row), f"{row[name.split(', ')[1] + '_audio_s_per_s']:.0f}", f"{row['plain_audio_s_per_s']:.0f}"]
        for name, row in loader["rows"].items()
    ]
    steps = [[name, interval(row["by_hand_again"]), interval(row["loop"])] for name, row in step["rows"].items()]
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
        parameters=f"{mini['encoder_parameters'] / 1e6:.2f} M",
        mini_about=about(mini),
        mini=scores(mini),
        espeak_about=about(espeak),
        espeak=scores(espeak),
        ctc_steps=number(espeak["trainings"]["pr"]["steps"]),
        ctc_cpu=f"{espeak['rows']['pr, trained from nothing']['cpu_seconds']:.0f}",
        loader_about=about(loader),
        loader_rounds=next(iter(loader["rows"].values()))["rounds"],
        loader=table(["", "ratio", "s of audio a second", "plain loop"], speeds),
        step_about=about(step),
        step=table(["model, batch", "by hand twice", "loop"], steps),
        wavlm=table(["", "ratio"], [[name, interval(row)] for name, row in wavlm["rows"].items()]),
    )


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    for name, picture in [
        *teachers.pictures(),
        *layers.layer_pictures(),
        *methods.method_pictures(),
        *gates.pictures(),
        *sharing.pictures(),
    ]:
        (PICTURES / name).write_text(picture, encoding="utf-8")
    PAGE.write_text(render(), encoding="utf-8")
