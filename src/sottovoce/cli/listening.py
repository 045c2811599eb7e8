"""Commands that hear recordings: writing down what is said, and saying which class it is."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from sottovoce.cli.common import PATH, AsJson, Overwrite, SkipBad, app, out, print_json, runs_models, tell
from sottovoce.errors import SottovoceError

STANDARD_INPUT = "-"
ListeningModel = Annotated[str, typer.Argument(help="A model's name or folder, or a folder of `sottovoce export`.")]
Recordings = Annotated[
    list[str], typer.Argument(help="Audio files, folders of them, or - for standard input.", metavar="AUDIO...")
]
Threads = Annotated[int | None, typer.Option(help="Threads; as many as there are cores if not given.", min=1)]
Raw = Annotated[
    int | None,
    typer.Option(help="Standard input is raw 16-bit mono samples at this rate, heard while they come.", metavar="RATE"),
]
Format = Literal["text", "json", "srt", "vtt"]
ENDS: dict[Format, str] = {"text": ".txt", "json": ".json", "srt": ".srt", "vtt": ".vtt"}


@dataclass(frozen=True)
class Recording:
    """What is heard: a file, or standard input; `place` is where its text lies in an output folder."""

    name: str
    place: Path
    raw: int | None = None

    def parts(self, hears: Any) -> Iterator[Any]:
        """What is heard of it, a part after the other, with progress by seconds of audio."""
        from sottovoce.data.audio import SAMPLE_RATE, open_audio
        from sottovoce.progress import bar
        from sottovoce.streaming.sources import decoded, raw, saved

        with ExitStack() as stack:
            if self.raw is not None:
                blocks, total = raw(sys.stdin.buffer, self.raw), None
            else:
                source = stack.enter_context(saved(sys.stdin.buffer)) if self.name == STANDARD_INPUT else self.name
                shown = "standard input" if self.name == STANDARD_INPUT else self.name
                file = stack.enter_context(open_audio(source, shown))
                blocks, total = decoded(file), None if file.frames is None else round(file.frames / file.rate)
            tick = stack.enter_context(bar(f"hearing {Path(self.name).name}", total))

            def told() -> Iterator[Any]:
                for block in blocks:
                    tick(round(len(block) / SAMPLE_RATE))
                    yield block

            yield from hears(told())


@app.command()
@runs_models
def transcribe(
    model: ListeningModel,
    audio: Recordings,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A folder for a file per recording.", **PATH)
    ] = None,
    as_json: AsJson = False,
    srt: Annotated[bool, typer.Option("--srt", help="SubRip subtitles.")] = False,
    vtt: Annotated[bool, typer.Option("--vtt", help="WebVTT subtitles.")] = False,
    chunk: Annotated[float, typer.Option(help="Seconds of a window.")] = 20.0,
    context: Annotated[float, typer.Option(help="Seconds before and behind a window that are heard too.")] = 4.0,
    threads: Threads = None,
    raw: Raw = None,
    overwrite: Overwrite = False,
    skip_bad: SkipBad = False,
) -> None:
    """Write down what is said in recordings of any length, with a model that has a CTC head."""
    form = format_of(as_json=as_json, srt=srt, vtt=vtt)
    recordings = recordings_of(audio, "" if output is None else ENDS[form], raw=raw)
    if form in ("srt", "vtt") and len(recordings) > 1 and output is None:
        raise SottovoceError(f"{len(recordings)} recordings cannot share one file of subtitles; name a folder with -o.")
    from sottovoce.files import atomic_write, check_writable
    from sottovoce.streaming.stream import stream
    from sottovoce.streaming.transcript import check_text, transcript_of

    if output is not None:
        check_writable(output / recordings[0].place)
    hears = stream(loaded(model), chunk=chunk, left=context, right=context, threads=threads)
    check_text(hears)
    for recording, place in waiting(recordings, output, overwrite=overwrite):
        with bad_ones(skip_bad):
            made = transcript_of(recording.parts(hears), hears.labels)
            if form == "json" and place is None:
                print_json([{"audio": recording.name, **made.record()}])
            elif place is None:
                alone = form != "text" or len(recordings) == 1
                text = {"text": made.text, "srt": made.srt(), "vtt": made.vtt()}[form]
                sys.stdout.write(f"{text.rstrip()}\n" if alone else f"{recording.name}\t{text}\n")
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                atomic_write(place, written(made, recording.name, form))


@app.command()
@runs_models
def classify(
    model: ListeningModel,
    audio: Recordings,
    window: Annotated[
        float | None, typer.Option(help="Seconds that get an answer of their own; the whole recording if not given.")
    ] = None,
    top: Annotated[int, typer.Option(help="How many classes are shown, the likeliest first.", min=1)] = 3,
    threads: Threads = None,
    raw: Raw = None,
    skip_bad: SkipBad = False,
    as_json: AsJson = False,
) -> None:
    """Say which class recordings are of, with a classifier: each as a whole, or window by window."""
    recordings = recordings_of(audio, "", raw=raw)
    from sottovoce.streaming.classes import classified, listener

    hears = listener(loaded(model), window=window, threads=threads)
    table = Table("recording", *(["from s", "to s"] if window else []), "class", "probability")
    found = False
    for recording in recordings:
        with bad_ones(skip_bad):
            for answer in classified(recording.parts(hears), hears.labels, name=recording.name, whole=window is None):
                found = True
                if as_json:
                    print_json([{"audio": recording.name, **answer.record(top)}])
                    continue
                times = [f"{answer.start:.2f}", f"{answer.end:.2f}"] if window else []
                for number, (label, share) in enumerate(answer.best(top)):
                    head = [recording.name, *times] if number == 0 else [""] * (1 + len(times))
                    table.add_row(*head, label, f"{share:.3f}")
    if found and not as_json:
        out.print(table)


def loaded(model: str) -> Any:
    """A model by name, or the path of an exported folder."""
    from sottovoce.names import get_model
    from sottovoce.streaming.runner import is_exported

    return model if is_exported(model) else get_model(model)


def format_of(**chosen: bool) -> Format:
    """The one format that was asked for; text if none was."""
    names: list[Format] = [name for name, on in zip(("json", "srt", "vtt"), chosen.values(), strict=True) if on]
    if len(names) > 1:
        raise SottovoceError(f"--{' and --'.join(names)} are {len(names)} formats; give one of them.")
    return names[0] if names else "text"


def recordings_of(audio: Iterable[str], end: str, *, raw: int | None) -> list[Recording]:
    """The recordings that are named, and those in folders; a slip in any is refused before the first is heard."""
    from sottovoce.streaming.sources import audio_files

    if raw is not None:
        if list(audio) != [STANDARD_INPUT]:
            raise SottovoceError("--raw is for standard input; give - in the place of files.")
        return [Recording(STANDARD_INPUT, Path(f"standard-input{end}"), raw)]
    found: list[Recording] = []
    for name in audio:
        if name == STANDARD_INPUT:
            found.append(Recording(name, Path(f"standard-input{end}")))
            continue
        for file, place in audio_files(name):
            found.append(Recording(str(file), place.with_suffix(end)))
    twice = [each for each in found if end and sum(each.place == other.place for other in found) > 1]
    if twice:
        raise SottovoceError(
            f"{twice[0].name} and {twice[1].name} would both be written to {twice[0].place}; hear them one at a time."
        )
    return found


def waiting(
    recordings: list[Recording], output: Path | None, *, overwrite: bool
) -> Iterator[tuple[Recording, Path | None]]:
    """The recordings whose text is not there yet, and where it goes."""
    there = [] if output is None or overwrite else [each for each in recordings if (output / each.place).exists()]
    if there:
        tell(f"{len(there)} of {len(recordings)} are there already, and stay (--overwrite makes them anew)")
    for each in recordings:
        if each not in there:
            yield each, None if output is None else output / each.place


def written(made: Any, name: str, form: Format) -> str:
    """The content of a file."""
    import json

    if form == "json":
        return json.dumps({"audio": name, **made.record()}, indent=1, ensure_ascii=False) + "\n"
    return {"text": f"{made.text}\n", "srt": made.srt(), "vtt": made.vtt()}[form]


@contextmanager
def bad_ones(skip: bool) -> Iterator[None]:
    """With --skip-bad, a recording that cannot be heard is told of and left out."""
    try:
        yield
    except SottovoceError as error:
        if not skip:
            raise
        tell(f"left out: {error}")
