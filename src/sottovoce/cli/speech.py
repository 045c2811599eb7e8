"""Commands about speech: corpora, tasks, training."""

import os
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Column, Table

import sottovoce as sv
from sottovoce.cli.common import (
    PATH,
    AsJson,
    Model,
    Output,
    Overwrite,
    SkipBad,
    Work,
    app,
    err,
    out,
    print_json,
    print_measurements,
    runs_models,
    show,
    tell,
)
from sottovoce.errors import SottovoceError
from sottovoce.files import leads, local_path

if TYPE_CHECKING:
    from sottovoce.cli.outputs import NewModel

SPOKEN = "synthetic speech, made on this machine"
MOST_LABELS = 12  # that are shown by name
corpus = typer.Typer(no_args_is_help=True, help="Speech with labels: list, prepare, check.")
app.add_typer(corpus, name="corpus")


@corpus.command("list")
def list_corpora(as_json: AsJson = False) -> None:
    """The corpora that `prepare` knows, their licences and parts."""
    from sottovoce.data.corpora import CORPORA, espeak
    from sottovoce.data.sources import ESPEAK

    if as_json:
        spoken = {"name": ESPEAK, "about": SPOKEN, "license": espeak.LICENSE, "page": "", "parts": []}
        rows = [{key: getattr(c, key) for key in ("name", "about", "license", "page")} for c in CORPORA.values()]
        parts = [list(c.archives or {}) for c in CORPORA.values()]
        print_json([spoken, *({**row, "parts": part} for row, part in zip(rows, parts, strict=True))])
        return
    table = Table(Column("corpus", no_wrap=True), "what", "license", "download")
    table.add_row(ESPEAK, SPOKEN, espeak.LICENSE, "not needed")
    for known in CORPORA.values():
        table.add_row(known.name, known.about, known.license, ", ".join(known.archives or {}) or known.terms)
    out.print(table)


@corpus.command()
def prepare(
    name: Annotated[str, typer.Argument(help="A corpus of `sottovoce corpus list`, or a folder or file of your own.")],
    folder: Annotated[str | None, typer.Argument(help="Where the corpus is, or where it shall be.")] = None,
    part: Annotated[list[str] | None, typer.Option(help="Only this part. Repeat for more.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch what is missing.")] = False,
    skip_bad: SkipBad = False,
    size: Annotated[float | None, typer.Option(help="espeak: how much; 1, the default, is half an hour.")] = None,
    seed: Annotated[
        int | None, typer.Option(help="Another than 0: of your own data, other splits; of espeak, other sentences.")
    ] = None,
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="Your own data: copy what links outside the folder lead to.")
    ] = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write manifest.jsonl for a corpus in FOLDER, fetched or made there, or for your own data (FOLDER alone)."""
    from sottovoce.data.sources import ESPEAK

    corpora = {"--part": bool(part), "--download": download}
    own = {"--follow-links": follow_links}
    if folder is None:
        refuse_options(name, {**corpora, "--size": size}, "it is data of your own")
        prepare_own_data(name, seed, follow_links, skip_bad, overwrite, as_json)
        return
    if name == ESPEAK:
        refuse_options(name, {**corpora, **own}, f"{ESPEAK} is made on this machine")
    else:
        refuse_options(name, {"--size": size, "--seed": seed}, f"only {ESPEAK} is made on this machine")
        refuse_options(name, own, "it is a known corpus")
    prepare_known(name, folder, part, download, size, seed, skip_bad=skip_bad, overwrite=overwrite, as_json=as_json)


@corpus.command()
def pronounce(
    data: Annotated[str, typer.Argument(help="Speech with text, by name, as everywhere.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The manifest to write.", **PATH)],
    by: Annotated[str, typer.Option(help="espeak, or a lexicon: a word and its phones a line.")] = "espeak",
    skip_bad: SkipBad = False,
    overwrite: Overwrite = False,
) -> None:
    """Write a manifest with the phones of every text, for phone recognition where nobody has aligned them."""
    from sottovoce.data.pronouncing import pronounced
    from sottovoce.data.utterance import keep_manifest
    from sottovoce.names import get_data

    bad: list[str] = []
    utterances = pronounced(get_data(data), by, on_bad=bad.append if skip_bad else None)
    folders = [str(u.audio.parent) for u in utterances if isinstance(u.audio, Path)]
    if len(folders) < len(utterances) or not folders:
        raise SottovoceError(f"'{data}' has no audio files whose list could be written; give recordings.")
    root = Path(os.path.commonpath(folders))
    keep_manifest(output, utterances, root=root, overwrite=overwrite)
    for message in bad:
        tell(message)
    known = sum(utterance.pronunciation is not None for utterance in utterances)
    show(f"wrote {output}: {known:,} of {len(utterances):,} utterances with phones; read it as {output}@{root}")


def refuse_options(name: str, given: dict[str, Any], why: str) -> None:
    """An error for options that what is prepared has no use for."""
    for option, value in given.items():
        if value is not None and value is not False:
            raise SottovoceError(f"{option} is of no use for {name}: {why}; leave it out.")


def prepare_known(
    name: str,
    folder: str,
    part: list[str] | None,
    download: bool,
    size: float | None,
    seed: int | None,
    *,
    skip_bad: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    """A corpus of the list, or speech that is made here."""
    from sottovoce.data.corpora import espeak
    from sottovoce.data.corpora.prepare import prepare as prepare_corpus
    from sottovoce.data.own.read import understood
    from sottovoce.data.sources import ESPEAK
    from sottovoce.data.utterance import MANIFEST, read_manifest

    bad: list[str] = []
    if name == ESPEAK:
        espeak.write(folder, size=1.0 if size is None else size, seed=seed or 0, overwrite=overwrite)
        manifest = local_path(folder) / MANIFEST
    else:
        on_bad = bad.append if skip_bad else None
        manifest = prepare_corpus(name, folder, parts=part, download=download, on_bad=on_bad, overwrite=overwrite)
    if as_json:
        print_json([{**asdict(understood(read_manifest(manifest), name, manifest)), "bad": bad}])
        return
    finish_corpus(manifest, bad)


def prepare_own_data(
    name: str, seed: int | None, follow_links: bool, skip_bad: bool, overwrite: bool, as_json: bool
) -> None:
    """Data in a format of another tool, and what was understood of it."""
    from sottovoce.data.own.read import prepare_own
    from sottovoce.data.sources import own_place

    bad: list[str] = []
    place, root = own_place(name)
    found = prepare_own(
        place,
        root=root,
        seed=seed,
        follow_links=follow_links,
        on_bad=bad.append if skip_bad else None,
        overwrite=overwrite,
    )
    if as_json:
        print_json([{**asdict(found), "bad": bad}])
        return
    show(f"{name} is {found.format}: {found.utterances:,} utterances, {found.hours:.2f} hours")
    counts = ", ".join(f"{split or 'none'} {count:,}" for split, count in found.splits.items())
    show(f"splits: {counts}" + (f" (made here, {found.made_splits})" if found.made_splits else ""))
    labels = ", ".join(f"{label} {count:,}" for label, count in list(found.labels.items())[:MOST_LABELS])
    more = f" and {len(found.labels) - MOST_LABELS:,} more" if len(found.labels) > MOST_LABELS else ""
    show(f"speakers: {found.speakers:,}; with text: {found.texts:,}; labels: {labels or 'none'}{more}")
    if found.pieces:
        show(f"written as files of their own: {found.pieces:,}")
    for what in found.left_out:
        show(f"left out: {what}")
    finish_corpus(Path(found.manifest), bad)


@corpus.command("from-hub")
def from_hub(
    dataset: Annotated[str, typer.Argument(help="A dataset's id on the Hugging Face Hub.")],
    folder: Annotated[str, typer.Argument(help="Where its audio and the manifest go.")],
    split: Annotated[str | None, typer.Option(help="As the dataset calls it; all if not given.")] = None,
    config: Annotated[str | None, typer.Option(help="A configuration of the dataset, such as a language.")] = None,
    audio: Annotated[str, typer.Option(help="The column of the recordings, if its name is unusual.")] = "",
    text: Annotated[str, typer.Option(help="The column of what is said.")] = "",
    label: Annotated[str, typer.Option(help="The column of the class.")] = "",
    speaker: Annotated[str, typer.Option(help="The column of who speaks.")] = "",
    task: Annotated[str | None, typer.Option(help="The task that the labels are for; `sottovoce tasks`.")] = None,
    license: Annotated[str | None, typer.Option(help="As the dataset's card says.")] = None,
    skip_bad: SkipBad = False,
    overwrite: Overwrite = False,
) -> None:
    """Copy a dataset of the Hugging Face Hub as FLAC files and a manifest (needs sottovoce[datasets])."""
    from sottovoce.data.corpora.hub_dataset import from_hub_dataset

    bad: list[str] = []
    columns = {"audio": audio, "text": text, "label": label, "speaker": speaker}
    manifest = from_hub_dataset(
        dataset,
        folder=folder,
        split=split,
        config=config,
        task=task,
        license=license,
        on_bad=bad.append if skip_bad else None,
        overwrite=overwrite,
        **columns,
    )
    finish_corpus(manifest, bad)


def finish_corpus(manifest: Path, bad: list[str]) -> None:
    """Say what was left out, and how to go on."""
    if bad:
        tell(f"{len(bad)} left out as bad")
    for message in bad:
        tell(f"  {message}")
    show(f"wrote {manifest}; use it as --data {manifest.parent}")


@corpus.command()
def check(
    manifest: Annotated[str, typer.Argument(help="A manifest, or a folder with one.")],
    root: Annotated[str | None, typer.Option(help="Where its audio paths begin, if not in its folder.")] = None,
    as_json: AsJson = False,
) -> None:
    """Decode every file of a manifest; exit code 1 if one is bad."""
    from sottovoce.data.corpora.prepare import check as check_manifest
    from sottovoce.data.utterance import MANIFEST

    place = local_path(manifest, "the manifest")
    found = check_manifest(place / MANIFEST if place.is_dir() else place, root=root)
    if as_json:
        print_json([asdict(found)])
    else:
        table = Table("task", "split", "utterances", "hours", "speakers")
        for row in found.parts:
            table.add_row(
                row.task or "any", row.split or "", f"{row.utterances:,}", f"{row.hours:.2f}", str(row.speakers)
            )
        out.print(table)
        for message in found.bad:
            show(f"bad: {message}")
    if found.bad:
        raise typer.Exit(1)


@app.command()
def tasks(as_json: AsJson = False) -> None:
    """What models are judged by: each is a measure, and a task for finetune."""
    if as_json:
        print_json({"name": task.name, "about": task.about, "needs": task.needs} for task in sv.TASKS.values())
        return
    table = Table("task", "what", "an utterance needs")
    for task in sv.TASKS.values():
        table.add_row(task.name, task.about, task.needs)
    out.print(table)


Options = Annotated[str, typer.Option(help="train.steps=2000,train.lr=1e-4,...; `sottovoce methods` lists them.")]
Speech = Annotated[str, typer.Option(help="As for measure.")]


@app.command()
@runs_models
def finetune(
    model: Model,
    task: Annotated[str, typer.Option(help="What to learn; `sottovoce tasks` lists.")],
    data: Speech,
    output: Output,
    options: Options = "",
    work: Work = None,
    overwrite: Overwrite = False,
    skip_bad: SkipBad = False,
    as_json: AsJson = False,
) -> None:
    """Train a model for a task and score it; stopped and started again, it goes on where it was."""
    from sottovoce.cli.outputs import new_model
    from sottovoce.registry import parse_options
    from sottovoce.tasks import find_task
    from sottovoce.tasks.finetune import score_head
    from sottovoce.tasks.kinds import GREEDY

    find_task(task)
    chosen = parse_options(sv.METHODS["finetune"], f"task={task}" + (f",{options}" if options else ""))
    with new_model(output, overwrite, work, model=model, data=data) as made:
        utterances = split_data(data, "train", skip_bad=skip_bad)
        tuned = train_and_save("finetune", model, utterances, chosen, made)
    if tuned is None:
        return
    if any(utterance.split == "test" for utterance in utterances):
        some = {name: chosen[name] for name in ("limit", "seed") if name in chosen}
        scores = score_head(sv.TASKS[task], tuned, utterances, how=GREEDY, **some)
        print_measurements([score.measured(task) for score in scores], as_json=as_json)
    (err if as_json else out).print(f"wrote {output}", markup=False, highlight=False)


@app.command()
@runs_models
def pretrain(
    model: Model,
    data: Speech,
    output: Output,
    options: Options = "",
    work: Work = None,
    overwrite: Overwrite = False,
    skip_bad: SkipBad = False,
) -> None:
    """Train an encoder to name units of what it cannot hear: a round of HuBERT's pretraining."""
    from sottovoce.cli.outputs import new_model
    from sottovoce.names import get_data
    from sottovoce.registry import parse_options

    chosen = parse_options(sv.METHODS["pretrain"], options)
    with new_model(output, overwrite, work, model=model, data=data) as made:
        trained = train_and_save("pretrain", model, get_data(data, skip_bad=skip_bad, tell=tell), chosen, made)
    if trained is not None:
        show(f"wrote {output}")


def split_data(name: str, split: str, *, skip_bad: bool) -> "list[sv.Utterance]":
    """Utterances by name, some of them in a split."""
    from sottovoce.names import get_data

    utterances = get_data(name, skip_bad=skip_bad, tell=tell)
    counts = Counter(str(utterance.split) for utterance in utterances)
    if not counts[split]:
        raise SottovoceError(f"{name} has no {split} split, but {dict(counts)}; give other data.")
    return utterances


def train_and_save(
    method: str, model: str, utterances: "list[sv.Utterance]", options: dict[str, Any], made: "NewModel"
) -> Any:
    """The trained model, saved; None in all processes but the first."""
    from sottovoce.names import get_model

    trained = sv.METHODS[method](get_model(model), utterances, **options)
    if not leads():
        return None
    made.save(trained)
    return trained
