"""The part of `docs/results.md` about the bundled teachers: tables and plots from their records."""

from collections.abc import Iterator
from typing import Any

from lib.tables import percent, read, there
from sottovoce.plots import line_plot

TEACHERS = ("small-melhubert", "small-hubert")
CORPORA = ("speech-mini", "espeak")
# What a table has of each task, and whether more is better.
METRICS = {
    ("phones", "accuracy_without_silence"): "phones without silence",
    ("phones", "accuracy"): "phones with silence",
    ("pr", "phone_error_rate"): "phone error rate",
    ("keywords", "accuracy"): "keywords",
    ("speakers", "accuracy"): "speakers",
    ("emotion", "accuracy"): "emotion",
}
LOWER = ("phone_error_rate",)
LONGER = {"phones": "phones longer"}  # the probe of log-mel features that is shown


def probed() -> bool:
    """Whether all probes are in the records."""
    return there(*(f"teachers-{name}" for name in ("log-mel", *TEACHERS)))


def cells(record: dict[str, Any], way: str, corpus: str, task: str, metric: str) -> list[dict[str, Any]]:
    """The scores of each layer."""
    return record["rows"][f"{way}, {corpus}, {task}"]["scores"][metric]


def best(scores: list[dict[str, Any]], metric: str) -> dict[str, Any]:
    """The best layer."""
    return (min if metric in LOWER else max)(scores, key=lambda score: score["value"])


def shown(score: dict[str, Any], *, layer: bool = False) -> str:
    """A score with its interval, and where it is."""
    place = f" (layer {score['layer']})" if layer else ""
    return f"{percent(score['value'], score['error'])}{place}"


def summary(corpus: str) -> tuple[list[str], list[list[str]]]:
    """Log-mel, random weights and the teachers, each at its best layer."""
    log_mel = read("teachers-log-mel")
    header = ["", "log-mel"]
    for teacher in TEACHERS:
        header += [f"{teacher}, random", teacher]
    lines = []
    for (task, metric), name in METRICS.items():
        line = [name, shown(best(cells(log_mel, "features", corpus, LONGER.get(task, task), metric), metric))]
        for teacher in TEACHERS:
            record = read(f"teachers-{teacher}")
            for way in ("random", "pretrained"):
                line.append(shown(best(cells(record, way, corpus, task, metric), metric), layer=True))
        lines.append([*line, str(cells(log_mel, "features", corpus, task, metric)[0]["n"])])
    return [*header, "n"], lines


def by_layer(teacher: str, corpus: str) -> tuple[list[str], list[list[str]]]:
    """Every layer of a teacher."""
    record = read(f"teachers-{teacher}")
    columns = [cells(record, "pretrained", corpus, task, metric) for task, metric in METRICS]
    lines = [
        [
            str(layer),
            *(f"{100 * scores[layer]['value']:.1f} ± {100 * scores[layer]['error']:.1f}" for scores in columns),
        ]
        for layer in range(len(columns[0]))
    ]
    return ["layer", *(f"{name}, %" for name in METRICS.values())], lines


def log_mel_phones(corpus: str, probe: str) -> float:
    """Log-mel's share of right frames without silence."""
    return cells(read("teachers-log-mel"), "features", corpus, probe, "accuracy_without_silence")[0]["value"]


def gain(teacher: str, corpus: str, probe: str = LONGER["phones"]) -> float:
    """By how much of log-mel's frame errors without silence the best layer has fewer."""
    task, metric = "phones", "accuracy_without_silence"
    log_mel = 1 - log_mel_phones(corpus, probe)
    own = 1 - best(cells(read(f"teachers-{teacher}"), "pretrained", corpus, task, metric), metric)["value"]
    return (log_mel - own) / log_mel


def pictures() -> Iterator[tuple[str, str]]:
    """Names and contents of the plots."""
    for teacher in TEACHERS:
        for corpus in CORPORA if probed() else ():
            record = read(f"teachers-{teacher}")
            lines = {
                name: [(s["layer"], 1 - s["value"] if metric in LOWER else s["value"]) for s in scores]
                for (task, metric), name in METRICS.items()
                if metric != "accuracy" or task != "phones"
                for scores in [cells(record, "pretrained", corpus, task, metric)]
            }
            lines = {f"1 - {name}" if name == "phone error rate" else name: points for name, points in lines.items()}
            title = f"Probes of {teacher} on {corpus}"
            yield f"{teacher}-{corpus}.svg", line_plot(lines, title=title, x="layer", y="score", percent=True)
        yield from training_pictures(teacher)


def training_pictures(teacher: str) -> Iterator[tuple[str, str]]:
    """Loss, accuracy and probe over the steps, a line a round."""
    rows = {name: row for name, _, row in rounds(teacher)}
    losses = {f"{name}, dev": [(step, loss) for step, loss, _ in row["validation"]] for name, row in rows.items()}
    yield f"{teacher}-loss.svg", line_plot(losses, title=f"Masked loss of {teacher}", x="step", y="nats a hidden frame")
    accuracy = {f"{name}, units": [(step, value) for step, _, value in row["validation"]] for name, row in rows.items()}
    accuracy |= {
        f"{name}, phones": [(step, max(layers)) for step, layers in row["probe"]] for name, row in rows.items()
    }
    title = f"Unit accuracy and phone probe of {teacher}"
    yield f"{teacher}-accuracy.svg", line_plot(accuracy, title=title, x="step", y="accuracy", percent=True)


def rounds(teacher: str) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """The name, the options and the curves of each round, over all runs that made the teacher."""
    number = 0
    for run in read(f"pretraining-{teacher}")["runs"]:
        for step, row in zip(run["recipe"]["steps"], run["rows"].values(), strict=True):
            number += 1
            yield f"round {number}", step["pretrain"], row


def units_of(teacher: str) -> list[list[str]]:
    """A row a round: what the units are, how well they fit phones, and what was reached."""
    rows = []
    for name, options, row in rounds(teacher):
        units = f"layer {options['layer']}" if options.get("layer") is not None else "MFCCs"
        units += f" of {options['teacher']}" if "teacher" in options else ""
        fit = f"{100 * row['unit_information']:.1f} %"
        step, loss, accuracy = row["validation"][-1]
        probes = [max(layers) for _, layers in row["probe"]]
        probe = f"{100 * probes[-1]:.1f} %" if probes else ""
        rate = f"{row['training'][-1][2]:.0f}"
        rows.append(
            [f"{teacher}, {name}", units, fit, str(step), f"{loss:.2f}", f"{100 * accuracy:.1f} %", probe, rate]
        )
    return rows


UNITS_HEADER = [
    "", "units of", "information on phones", "steps", "masked loss", "unit accuracy", "phone probe", "audio s a second"
]  # fmt: skip


def throughput() -> tuple[list[str], list[list[str]]]:
    """Every way of taking a step."""
    record = read("pretraining")
    lines = [
        [
            name,
            f"{row['ratio']:.2f} [{row['low']:.2f}, {row['high']:.2f}]",
            f"{row['audio_s_per_s']:.0f}",
            f"{row['operations_per_s'] / 1e9:.0f} G",
            f"{row['matrix_rate'] / 1e9:.0f} G",
            f"{100 * row['share']:.0f} %",
        ]
        for name, row in record["rows"].items()
    ]
    return ["", "time over fp32, AdamW", "audio s a second", "operations a second", "matrix rate", "share"], lines
