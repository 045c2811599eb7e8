"""Passes over speech: what they collect, in chunks that resume, are shared out, and add up to the same bits."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny
from speech import toys
from torch import nn
from zygote import Zygote

import sottovoce as sv
from sottovoce.data.batches import samples
from sottovoce.data.utterance import Utterance
from sottovoce.errors import SottovoceError
from sottovoce.files import working_in
from sottovoce.models.encoder import Encoder, frame_mask
from sottovoce.models.front_end import LogMel
from sottovoce.studies import attention as attention_study
from sottovoce.studies import convexity as convexity_study
from sottovoce.studies import similarity as similarity_study
from sottovoce.studies.attention import norms_of, patterns_of_heads
from sottovoce.studies.chunks import Arrays, Unfinished, chunked, sharing
from sottovoce.studies.convexity import convexity_of
from sottovoce.studies.effects import add_effects, effects_of
from sottovoce.studies.segments import euclidean_convexity_of
from sottovoce.studies.similarity import influences, likeness, spans
from sottovoce.tasks.batch import Batch

DATA = toys()
FAMILIES = ["hubert", "wavlm", "wav2vec2-large", "sew", "wav2vec2-bert", "whisper"]


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity_study, "BATCHES", 1)
    monkeypatch.setattr(convexity_study, "CHUNK", 7)
    monkeypatch.setattr(attention_study, "CHUNK", 4)


def tuned() -> Any:
    return sv.finetune(tiny("hubert", num_hidden_layers=2), DATA, task="keywords", train={"steps": 40, "lr": 3e-3})


def slowly(model: Any, utterances: list[Utterance]) -> list[list[np.ndarray]]:
    """Every state of every utterance, one at a time, in double precision."""
    encoder, found = Encoder(model.double()), []
    for utterance in utterances:
        with torch.no_grad(), encoder.exact():
            states = encoder.states(encoder.inputs([samples(utterance)]))
        found.append([state[0].double().numpy() for state in states])
    return found


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("reading", ["flatten", "mean", "frames"])
def test_every_family_has_similarities(family: str, reading: Any) -> None:
    found = likeness([tiny(family)], DATA, reading=reading, batch=6, frames=40, seconds=0.4, ks=[2])
    for metric in ("cosine", "cka", "knn_2"):
        matrix = found.matrices[metric]
        assert matrix.shape == (len(found.names),) * 2 and np.isfinite(matrix).all()
        np.testing.assert_allclose(matrix, matrix.T, atol=1e-9)
        np.testing.assert_allclose(matrix.diagonal(), 1, atol=1e-9)
    assert found.batches == 3 and found.samples == (40 if reading == "frames" else 6)


def test_means_over_time_agree_with_loops() -> None:
    model = tiny("hubert")
    found = likeness([model], DATA, reading="mean", batch=18, ks=[3])
    means = [[state.mean(0) for state in row] for row in slowly(model, [u for u in DATA if u.split == "test"])]
    for i in range(5):
        for j in range(5):
            wanted = [float(row[i] @ row[j] / np.linalg.norm(row[i]) / np.linalg.norm(row[j])) for row in means]
            assert math.isclose(found.matrices["cosine"][i, j], float(np.mean(wanted)), abs_tol=1e-5)
            angle = np.mean([math.acos(min(1.0, value)) / math.pi for value in wanted])
            assert math.isclose(found.matrices["angle"][i, j], float(angle), abs_tol=2e-3)


def test_means_and_intervals_are_over_batches() -> None:
    model = tiny("hubert")
    chosen = similarity_study.recordings(DATA, what="", limit=None)
    parts = [likeness([model], chosen[at : at + 6], reading="mean", batch=6, ks=[2]) for at in (0, 6, 12)]
    whole = likeness([model], DATA, reading="mean", batch=6, ks=[2])
    assert whole.errors is not None and parts[0].errors is None
    for metric in ("cosine", "cka", "knn_2"):
        values = np.stack([part.matrices[metric] for part in parts])
        # The same utterances: their order within a batch changes nothing but the last bits.
        np.testing.assert_allclose(whole.matrices[metric], values.mean(0), atol=1e-6)
        np.testing.assert_allclose(whole.errors[metric], 1.96 * values.std(0, ddof=1) / 3**0.5, atol=1e-5)


def test_a_model_and_what_was_made_of_it() -> None:
    model = tiny("hubert")
    small = sv.drop_layers(model, drop=[1])
    found = likeness([model, small], DATA, reading="flatten", batch=6, ks=[2], seconds=0.4)
    assert found.names == ("0", "1", "2", "3", "4", "0'", "1'", "2'", "3'")
    np.testing.assert_allclose(found.matrices["cka"][1, 6], 1, atol=1e-5)
    assert found.matrices["cka"][2, 7] < 1 - 1e-5
    other = tiny("wavlm", hidden_size=16)
    apart = likeness([model, other], DATA, reading="mean", batch=6, ks=[2])
    assert np.isnan(apart.matrices["cosine"][0, 5:]).all() and np.isfinite(apart.matrices["cka"]).all()


def test_influences_and_spans_are_read_off_the_matrices() -> None:
    found = likeness([tiny("hubert")], DATA, reading="mean", batch=18, ks=[2, 8])
    layers = influences(found, k=8)
    assert [layer.layer for layer in layers] == [0, 1, 2, 3]
    assert layers[2].bi == 1 - found.matrices["cosine"][2, 3] and layers[2].cka_bi == 1 - found.matrices["cka"][2, 3]
    near = (found.matrices["knn_2"][2, 3] + found.matrices["knn_8"][2, 3]) / 2
    assert math.isclose(layers[2].knn_bi_averaged, 1 - near)
    angles = {(first, count): angle for first, count, angle in spans(found)}
    assert len(angles) == 10 and angles[1, 2] == found.matrices["angle"][1, 3]
    paper = likeness([tiny("hubert")], DATA, reading="mean", batch=18, ks=[8], embedding=False)
    assert paper.names == ("1", "2", "3", "4") and [layer.layer for layer in influences(paper)] == [1, 2, 3]


def test_flattened_utterances_are_cut_or_padded() -> None:
    short = similarity_study.cut_to(DATA[0], 0.1)
    assert len(short) == 1600 and np.array_equal(short, samples(DATA[0])[len(samples(DATA[0])) // 2 - 800 :][:1600])
    padded = similarity_study.cut_to(DATA[0], 1.0)
    assert len(padded) == 16_000 and not padded[len(samples(DATA[0])) :].any()


@pytest.mark.usefixtures("small_chunks")
def test_shares_put_together_are_what_one_process_makes(tmp_path: Path) -> None:
    model = tiny("hubert")
    studies: list[Any] = [
        lambda: likeness([model], DATA, reading="mean", batch=6, ks=[2]).matrices,
        lambda: likeness([model], DATA, reading="frames", batch=6, frames=30, ks=[2]).matrices,
        lambda: convexity_of(model, DATA, of=["keywords", "phones"], k=5),
        lambda: patterns_of_heads(model, DATA).values,
    ]
    for number, study in enumerate(studies):
        alone = study()
        for part in (2, 1, 3):
            with sharing(tmp_path / str(number), part, 3), pytest.raises(Unfinished, match="chunks are in"):
                study()
        with sharing(tmp_path / str(number)):
            together = study()
        if isinstance(alone, dict) and "keywords" in alone:
            assert together == alone
        else:
            assert all(np.array_equal(together[key], alone[key]) for key in alone)


def test_work_that_was_killed_goes_on(tmp_path: Path) -> None:
    calls: list[int] = []

    def work(chunk: int) -> Arrays:
        calls.append(chunk)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return {"value": np.array(chunk / 3)}

    with working_in(tmp_path), pytest.raises(KeyboardInterrupt):
        list(chunked("thirds", {"of": "numbers"}, [1, 2, 3, 4], work))
    made = sorted(tmp_path.rglob("*.safetensors"))
    assert len(made) == 2
    made[0].write_bytes(b"damaged")
    with working_in(tmp_path):
        found = [float(part["value"]) for part in chunked("thirds", {"of": "numbers"}, [1, 2, 3, 4], work)]
    assert found == [1 / 3, 2 / 3, 1.0, 4 / 3] and calls == [1, 2, 3, 1, 3, 4]
    with working_in(tmp_path):  # of something else: nothing is taken over
        list(chunked("thirds", {"of": "others"}, [1, 2, 3, 4], work))
    assert calls[6:] == [1, 2, 3, 4]


RANK = """
import sys
from pathlib import Path
from accelerate import PartialState
from conftest import tiny
from speech import toys
import numpy as np
import torch
from sottovoce.studies import similarity
from sottovoce.studies.chunks import sharing
similarity.BATCHES = 1
torch.manual_seed(0)
with sharing(Path(sys.argv[1])):
    found = similarity.likeness([tiny("hubert")], toys(), reading="mean", batch=6, ks=[2])
assert PartialState().num_processes == 2
np.save(f"{sys.argv[1]}/{PartialState().process_index}.npy", found.matrices["cka"])
"""


def test_two_processes_share_the_work(zygote: Zygote, tmp_path: Path) -> None:
    zygote.run_ranks(2, [str(tmp_path)], cwd=tmp_path, python=RANK)
    alone = likeness([tiny("hubert")], DATA, reading="mean", batch=6, ks=[2]).matrices["cka"]
    for rank in range(2):
        np.testing.assert_allclose(np.load(tmp_path / f"{rank}.npy"), alone, atol=1e-9)


def test_concepts_that_can_be_heard_are_convex() -> None:
    assert len(convexity_of(tiny("hubert"), DATA, of=["speakers"], k=5)["speakers"]) == 5
    found = convexity_of(LogMel(), DATA, of=["keywords", "phones"], k=5)
    words, phones = found["keywords"][0], found["phones"][0]
    assert {row.name for row in words.classes} == {"low", "middle", "high"} and words.points == 63
    assert {row.name for row in phones.classes} == {"LOW", "MIDDLE", "HIGH"} and phones.points == 126
    assert phones.by_class > 0.9  # a tone is itself
    few = convexity_of(tiny("hubert"), DATA, of=["phones"], k=5, limit=20, classes=2)["phones"][0]
    assert few.points == 20 and {row.points for row in few.classes} == {10}


def test_points_of_phones_are_means_over_their_times() -> None:
    model = tiny("hubert")
    points = convexity_study.points_of(sv.TASKS["phones"], DATA, limit=5, classes=None, seed=0)
    seen: dict[str, np.ndarray] = {}

    def keep(features: np.ndarray, k: int) -> Any:
        seen["features"] = features
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(convexity_study, "neighbor_graph", keep)
        convexity_of(model, DATA, of=["phones"], limit=5)
    for row, point in zip(seen["features"], points, strict=True):
        states = slowly(model, [point.utterance])[0]
        centers = Encoder(model).centers(len(states[0]))
        inside = (centers >= point.start) & (centers < point.end)
        np.testing.assert_allclose(row, states[0][inside].mean(0), atol=1e-5)


def test_a_models_own_answers_are_a_concept_too() -> None:
    model = tuned()
    found = convexity_of(model, DATA, of=["predictions", "keywords"], k=5)
    assert set(found) == {"predictions", "keywords"}
    assert {row.name for row in found["predictions"][0].classes} <= {"0", "1", "2"}
    assert found["predictions"][-1].by_class > found["predictions"][0].by_class - 0.05
    with pytest.raises(SottovoceError, match="needs a model that classifies utterances"):
        convexity_of(tiny("hubert"), DATA, of=["predictions"])


def test_segments_run_through_the_rest_of_the_network() -> None:
    model = tuned()
    found = euclidean_convexity_of(model, DATA, pairs=6, limit=30, seconds=0.4)
    assert [row.state for row in found] == [0, 1, 2] and all(0 <= row.by_class <= 1 for row in found)
    assert {row.pairs for row in found[0].classes} == {6}
    # The last state goes through a mean and two Linears only: what lies between two of a class is of the class.
    assert found[-1].by_class > 0.8
    with pytest.raises(SottovoceError, match="classifies utterances"):
        euclidean_convexity_of(tiny("hubert"), DATA)


@pytest.mark.parametrize("family", ["hubert", "wavlm", "hubert-large"])
@pytest.mark.parametrize("state", range(5))
def test_the_rest_of_the_network_begins_where_a_state_ends(family: str, state: int) -> None:
    from sottovoce.studies.segments import rest_of

    model = tiny(family, head="ForSequenceClassification", num_labels=3)
    encoder = Encoder(model)
    audio = [samples(DATA[0])[:4000], samples(DATA[1])[:4000]]
    with torch.no_grad(), encoder.exact():
        inputs = encoder.inputs(audio)
        wanted = model(**encoder.placed(inputs)).logits
        with rest_of(encoder, state, 0.25) as rest:
            found = rest(encoder.states(inputs)[state])
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["hubert", "wavlm", "wav2vec2-conformer", "whisper"])
def test_heads_have_patterns(family: str) -> None:
    found = patterns_of_heads(tiny(family), DATA, limit=3)
    assert found.values["entropy"].shape == (4, 4) and found.utterances == 3
    assert (found.values["globality"] <= 1 + 1e-6).all() and (found.values["diagonality"] <= 1).all()
    assert found.profiles.shape == (4, 4, 101) and np.isfinite(found.profiles).all()


def test_layers_of_fewer_heads_leave_gaps() -> None:
    model = tiny("hubert")
    sv.edits.keep_heads(model, 1, [0, 3])
    found = patterns_of_heads(model, DATA, limit=2)
    assert np.isnan(found.values["entropy"][1, 2:]).all() and np.isfinite(found.values["entropy"][1, :2]).all()
    assert [len(layer) for layer in norms_of(model)] == [4, 2, 4, 4]
    assert any(row.metric == "rank_correlation" for row in sv.MEASURES["attention"](model, DATA, limit=2))


@pytest.mark.parametrize("family", ["hubert", "wavlm"])
def test_effects_of_heads_agree_with_loops(family: str) -> None:
    model = sv.finetune(tiny(family, num_hidden_layers=2), DATA, task="keywords", train={"steps": 5})
    found = effects_of(model, DATA, limit=6, size=4)
    again = effects_of(model, DATA, limit=6, size=1)
    for one, other in zip(found, again, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(one.norm(), torch.tensor(1.0, dtype=torch.float64))
    with pytest.raises(SottovoceError, match="needs a model with a head"):
        effects_of(tiny(family), DATA)


def test_an_utterance_counts_as_one_in_effects_however_long_its_batch() -> None:
    """The paper's code in float64: of each batch of as many utterances, the effect on its mean loss; frame by frame."""

    class Frames(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(6, 3).double()

        def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
            inside = frame_mask(batch.frames, batch.inputs["states"].shape[1])
            logits = self.out(batch.inputs["states"])
            return (logits.logsumexp(-1) - logits[..., 0])[inside].sum(), inside.sum()

    module, generator = Frames(), torch.Generator().manual_seed(0)
    batches = [
        Batch({"states": torch.randn(2, time, 6, generator=generator).double()}, torch.tensor([time, time - 2]), ())
        for time in (40, 6)
    ]
    sums, wanted = [torch.zeros(2, dtype=torch.float64)], torch.zeros(2, dtype=torch.float64)
    weight = module.out.weight.detach()
    for batch in batches:
        add_effects(module, batch, [(module.out, 2)], sums)
        for row, frames in zip(batch.inputs["states"], batch.frames.tolist(), strict=True):
            for state in row[:frames]:
                share = (weight @ state + module.out.bias.detach()).softmax(0)
                gradient = (share - torch.tensor([1.0, 0.0, 0.0])) @ weight / int(batch.frames.sum())
                wanted += len(batch.frames) * (state * gradient).view(2, 3).sum(1).abs()
    torch.testing.assert_close(sums[0], wanted, rtol=1e-12, atol=0)


def test_ablation_scores_every_layer_gone() -> None:
    model = tuned()
    rows = sv.MEASURES["ablation"](model, DATA, task="keywords")
    assert [row.where for row in rows] == [{}, {"layer": 0}, {"layer": 1}]
    assert rows[0].value > 0.5 and rows[0].metric == "keywords accuracy"
    probed = sv.MEASURES["ablation"](tiny("hubert", num_hidden_layers=2), DATA, task="keywords", train={"steps": 20})
    assert len(probed) == 3


def test_a_broken_layer_is_named() -> None:
    model = tiny("hubert")
    with torch.no_grad():
        model.encoder.layers[2].final_layer_norm.weight[0] = torch.nan
    for study in (
        lambda: likeness([model], DATA, reading="mean", batch=6),
        lambda: convexity_of(model, DATA, k=5),
        lambda: patterns_of_heads(model, DATA, limit=2),
    ):
        with pytest.raises(SottovoceError, match=r"layer [23] has NaN"):
            study()


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda m: likeness([m], None, reading="mean"), "similarity needs data"),
        (lambda m: likeness([m], DATA[:1], reading="mean"), "at least two recordings"),
        (lambda m: likeness([m], DATA, reading="mean", batch=1), "batch=1"),
        (lambda m: likeness([m], DATA, reading="flatten", seconds=0.0), "seconds=0.0"),
        (lambda m: influences(likeness([m], DATA, reading="mean", batch=6, ks=[2])), "k=8 neighbours among 6"),
        (lambda m: convexity_of(m, [replace(u, phones=None) for u in DATA], of=["phones"]), "no utterance with phones"),
        (lambda m: convexity_of(m, DATA, k=0), "k=0"),
        (lambda m: convexity_of(m, DATA[:8], k=10), "k=10 neighbours among 8 points"),
        (lambda m: patterns_of_heads(m, DATA, seconds=0.0), "seconds=0.0"),
        (lambda m: sv.MEASURES["ablation"](m, DATA, task="keyword"), "did you mean 'keywords'"),
    ],
)
def test_nonsense_is_refused(call: Any, sentence: str) -> None:
    with pytest.raises(SottovoceError, match=sentence.replace("(", r"\(")):
        call(tiny("hubert"))
