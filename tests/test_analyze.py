"""`sottovoce analyze`: the run, its shares, its page, and what the page looks like in a browser."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import tiny
from old_rows import ROWS
from speech import toy_folder
from test_cli import run
from zygote import Zygote

import sottovoce as sv
from sottovoce.analyses import AS_PAPER, PAGE, steps_of
from sottovoce.cli import main
from sottovoce.measurement import Measurement
from sottovoce.report.analysis import analysis_page
from sottovoce.report.cuts import cuts

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
PARTS = [
    "similarity:batch=6,seconds=0.4,k=2",
    "convexity:k=4",
    "attention:limit=4",
    "probes:train.steps=20",
    "cost:seconds=1.0,repeats=1",
    "ablation:train.steps=20",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("analysis")
    sv.save(tiny("hubert"), folder / "encoder")
    toy_folder(folder / "toys")
    return folder


def words(place: Path, output: str, *more: str) -> list[str]:
    parts = [word for part in PARTS for word in ("--part", part)]
    return ["analyze", str(place / "encoder"), "--data", str(place / "toys"), "-o", str(place / output), *parts, *more]


@pytest.fixture(scope="module")
def analysed(place: Path) -> Path:
    with pytest.raises(SystemExit) as ended:
        main(words(place, "out"))
    assert not ended.value.code
    (folder,) = (place / "out").glob("measure-*")
    return folder


class Reader(HTMLParser):
    """What a page asks for, its headings and drawings; every tag that opens must close."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.drawings: list[str] = []
        self.asked: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "rect", "polyline"):
            self.open.append(tag)
        known = dict(attrs)
        self.asked += [str(known[name]) for name in ("src", "href") if name in known]
        if tag == "svg":
            self.drawings.append(str(known["aria-label"]))

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("rect", "polyline"):
            assert self.open.pop() == tag, self.getpos()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


def test_the_page_has_everything_and_asks_for_nothing(analysed: Path) -> None:
    text = (analysed / PAGE).read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    assert reader.headings == [
        "Suggested cuts",
        "Similarity of layers",
        "Influence of layers",
        "Convexity",
        "What states know",
        "Ablation",
        "Attention heads",
        "Cost",
    ]
    for drawing in ("cka, flatten", "knn, mean", "cosine, frames", "Probes of each state", "diagonality", "Profiles"):
        assert drawing in reader.drawings
    assert all(address.startswith("#") for address in reader.asked)
    assert "<script" not in text and "nan" not in re.sub(r"[a-z]nan|nan[a-z]", "", text.lower())


def test_the_run_has_every_number(analysed: Path) -> None:
    rows = sv.Run.open(analysed).measurements()
    matrix = {row.where: row for row in rows if row.metric == "cka"}
    assert {where["reading"] for where in matrix} == {"flatten", "mean", "frames"} and len(matrix) == 30
    assert all(0 <= row.value <= 1 + 1e-9 and row.n and row.error is not None for row in matrix.values())
    assert {row.measure for row in rows} >= {"similarity", "convexity", "attention", "ablation", "keywords", "macs"}
    assert not (analysed.parent / "chunks").exists()


def test_old_places_are_read_to_those_of_today(analysed: Path) -> None:
    known = {(measure, frozenset(new)) for measure, _, _, new in ROWS}
    rows = sv.Run.open(analysed).measurements()
    assert {(row.measure, frozenset(row.where)) for row in rows} <= known


def test_shares_put_together_end_in_the_same_numbers(
    capsys: pytest.CaptureFixture[str], place: Path, analysed: Path
) -> None:
    for shard in ("2/2", "1/2"):
        code, out, err = run(capsys, *words(place, "shared", "--shard", shard))
        assert code == 0 and not out and "chunks are in" in err
        assert not list((place / "shared").glob("measure-*"))
    assert list((place / "shared" / "chunks").glob("*/similarity-mean-*/*.safetensors"))
    code, out, _ = run(capsys, *words(place, "shared", "--json"))
    assert code == 0 and json.loads(out.splitlines()[-1])["page"].endswith(PAGE)
    (folder,) = (place / "shared").glob("measure-*")
    timed = ("speed",)
    once, twice = (
        [row for row in sv.Run.open(each).measurements() if row.measure not in timed] for each in (analysed, folder)
    )
    assert once == twice


def test_two_processes_write_one_run(zygote: Zygote, place: Path, analysed: Path) -> None:
    zygote.run_ranks(2, words(place, "two"), cwd=place)
    (folder,) = (place / "two").glob("measure-*")
    assert (folder / PAGE).exists()
    # Trainings of several processes add gradients up in another order; what is collected in chunks is the same.
    collected = ("similarity", "convexity", "attention", "size", "macs")
    once, twice = (
        [row for row in sv.Run.open(each).measurements() if row.measure in collected] for each in (analysed, folder)
    )
    assert once == twice


def test_a_second_time_nothing_is_measured_again(
    capsys: pytest.CaptureFixture[str], place: Path, analysed: Path
) -> None:
    (analysed / PAGE).unlink()
    code, out, err = run(capsys, *words(place, "out"))
    assert code == 0 and "finished already" in err and f"wrote {analysed / PAGE}" in out.replace("\n", "")
    assert (analysed / PAGE).exists() and "drop_layers:" in out


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium on this machine")
def test_a_browser_shows_the_page(analysed: Path, tmp_path: Path) -> None:
    picture = tmp_path / "page.png"
    # A host that cannot be reached stands for every name: a page that asked the network for anything would show it.
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--virtual-time-budget=2000",
    ]
    begin = [str(BROWSER), *flags, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1250,3000"]
    address = (analysed / PAGE).as_uri()
    subprocess.run([*begin, f"--screenshot={picture}", address], check=True, capture_output=True, timeout=120)
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and picture.stat().st_size > 50_000
    done = subprocess.run([*begin, "--dump-dom", address], check=True, capture_output=True, text=True, timeout=120)
    assert done.stdout.count("<svg") >= 20 and "Suggested cuts" in done.stdout


def test_the_papers_settings_are_one_word(place: Path) -> None:
    data = sv.read_data(str(place / "toys"))
    steps = steps_of([("similarity", {})], data, as_paper=True)
    assert steps == [("similarity", AS_PAPER["similarity"])]
    assert [name for name, _ in steps_of([], data)].count("similarity") == 3
    assert [name for name, _ in steps_of([("probes", {"steps": 3})], data)][:2] == ["keywords", "speakers"]


def test_cuts_follow_from_numbers() -> None:
    def row(measure: str, metric: str, value: float, error: float | None = None, **where: str | int) -> Measurement:
        return Measurement(measure, metric, value, better="higher", where=where, error=error)

    scores = [0.9, 0.4, 0.1, 0.3, 0.2, 0.5, 0.6, 0.7]
    rows = [row("similarity", "bi", value, reading="flatten", layer=layer) for layer, value in enumerate(scores)]
    rows += [
        row("convexity", "by_class", v, concept="keywords", state=s) for s, v in enumerate([0.1, 0.5, 0.8, 0.805, 0.3])
    ]
    rows += [row("phones", "accuracy", v, error=0.05, state=s) for s, v in enumerate([0.2, 0.56, 0.6, 0.5])]
    found = {cut.step: cut.reason for cut in cuts(rows)}
    assert list(found) == ["drop_layers:drop=[2, 4]", "drop_layers:keep=2", "drop_layers:keep=1"]
    assert "2 (0.100), 4 (0.200)" in found["drop_layers:drop=[2, 4]"]
    assert "state 2 (0.800; 0.300 in the last)" in found["drop_layers:keep=2"]
    assert "state 1 (accuracy 0.560)" in found["drop_layers:keep=1"]
    assert cuts([]) == [] and "<h2" not in analysis_page("nothing", "", [])


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--part", "similarty"], "did you mean 'similarity'"),
        (["--part", "similarity:bath=3"], "did you mean 'batch'"),
        (["--shard", "3/2"], "1/8 to 8/8"),
        (["--as", "papr"], "only 'paper' is known"),
        (["--part", "convexity:of=[keyword]"], "keyword"),
    ],
)
def test_mistakes_are_one_sentence(
    capsys: pytest.CaptureFixture[str], place: Path, more: list[str], sentence: str
) -> None:
    arguments = ["analyze", str(place / "encoder"), "--data", str(place / "toys"), "-o", str(place / "bad"), *more]
    code, out, err = run(capsys, *arguments)
    assert code == 2 and not out and sentence in " ".join(err.split()) and "Traceback" not in err
    assert not (place / "bad").exists()
