"""Graphs: the model with its front end inside, against the model heard through its own feature extractor."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from conftest import EDITS, TINY, edited, possible, tiny

import sottovoce as sv
from sottovoce.models.encoder import Encoder
from sottovoce.models.front_end import LogMel
from sottovoce.runtimes.fronts import GraphLogMel, SeamlessFront, WhisperFront, normalized
from sottovoce.runtimes.graph import Graph
from sottovoce.runtimes.onnx_file import write_onnx
from sottovoce.runtimes.session import OpenVinoSession, Session, batch_of

# Odd numbers of samples and of frames of log-mel, one too short for a frame of real front ends.
LENGTHS = (16_000, 9_123, 12_001, 5_040)
HEADS = ("ForCTC", "ForSequenceClassification", "ForXVector", "ForAudioFrameClassification")
SMALL_HEADS = {"tdnn_dim": (12, 12, 20), "xvector_output_dim": 10, "tdnn_kernel": (3, 2, 1), "tdnn_dilation": (1, 2, 1)}
MAIN = {"tokens": "log_probs", "frame classes": "log_probs", "classes": "logits", "embedding": "embeddings"}


def speech(lengths: Sequence[int] = LENGTHS) -> list[np.ndarray]:
    """Noise with a slope and an offset, so that nothing is normalised from the start."""
    source = np.random.default_rng(0)
    return [(0.1 * source.standard_normal(n) + 0.02 + 1e-6 * np.arange(n)).astype(np.float32) for n in lengths]


@torch.no_grad()
def alone(model: Any, piece: np.ndarray, kind: str) -> dict[str, np.ndarray]:
    """What a model says of one utterance, by Hugging Face's feature extractor and its own forward pass."""
    encoder = Encoder(model, outputs=kind != "states")
    inputs: dict[str, Any] = encoder.placed(encoder.inputs([piece]))
    count = encoder.counts([piece])[0]
    if kind == "states":
        return {f"state_{n}": state[0, :count].numpy() for n, state in enumerate(encoder.states(inputs))}
    inputs.pop("attention_mask", None) if encoder.normalizes is not None else None
    output = model(**inputs)
    if kind == "embedding":
        return {"embeddings": output.embeddings[0].numpy()}
    if kind == "classes":
        return {"logits": output.logits[0].numpy(), "probabilities": output.logits.softmax(-1)[0].numpy()}
    return {"log_probs": output.logits.log_softmax(-1)[0, :count].numpy(), "frames": np.array(count)}


def compare(model: Any, run: Any, kind: str, audio: Sequence[np.ndarray], *, bound: float = 2e-5) -> None:
    """A padded batch in a graph, and each utterance in the model."""
    found = run(audio)
    for row, piece in enumerate(audio):
        for name, wanted in alone(model, piece, kind).items():
            got = found[name][row][: len(wanted)] if wanted.ndim == 2 else found[name][row]
            error = np.abs(got - wanted).max() / max(1.0, np.abs(wanted).max())
            assert error < bound, f"{name} of utterance {row} is off by {error:.1e}"


def in_torch(graph: Graph) -> Any:
    """A graph in PyTorch, with noise behind the ends."""

    def run(audio: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        batch = {name: torch.from_numpy(value) for name, value in batch_of(audio, shortest=graph.shortest).items()}
        batch["waveform"][batch["waveform"] == 0] = 9.0  # what lies behind an end must not matter
        with torch.no_grad():
            return {name: value.numpy() for name, value in graph(**batch).items()}

    return run


def in_onnx(graph: Graph, path: Path) -> Any:
    write_onnx(graph, path)
    session = Session(path)
    return lambda audio: session.run(batch_of(audio, shortest=graph.shortest))


def in_openvino(graph: Graph, path: Path) -> Any:
    """The file that `in_onnx` wrote, in the other runtime."""
    session = OpenVinoSession(path)
    return lambda audio: session.run(batch_of(audio, shortest=graph.shortest))


def whisper_encoder() -> Any:
    """Whisper's encoder under its decoder."""
    config = tiny("whisper").config
    torch.manual_seed(0)
    return transformers.WhisperForConditionalGeneration(config).eval()


@pytest.mark.parametrize("head", ["", *HEADS])
@pytest.mark.parametrize("family", sorted(TINY))
def test_a_graph_of_a_padded_batch_says_what_the_model_says_of_each_utterance(family: str, head: str) -> None:
    try:
        model = tiny(family, head=head, **(SMALL_HEADS if head == "ForXVector" else {}))
    except sv.SottovoceError:
        return  # Hugging Face has no such class
    graph = Graph(model).eval()
    assert set(graph.outputs) >= ({MAIN[graph.gives]} if graph.gives != "states" else {"state_4", "frames"})
    # Fbanks of quiet bins end in logarithms of small differences.
    compare(model, in_torch(graph), graph.gives, speech(), bound=2e-3 if family == "wav2vec2-bert" else 2e-5)


def test_behind_the_end_of_a_text_all_is_blank() -> None:
    model = tiny("hubert", head="ForCTC")
    model.config.pad_token_id = 3
    found = in_torch(Graph(model).eval())(speech())
    for row, count in zip(found["log_probs"], found["frames"], strict=True):
        assert (row[count:].argmax(-1) == 3).all() and (row[count:, 3] == 0).all()
        np.testing.assert_allclose(np.exp(row[:count]).sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize("edit", sorted(EDITS))
def test_a_graph_of_every_edit_says_what_the_model_says(edit: str) -> None:
    model = edited("wavlm" if possible("wavlm", edit) else "hubert", edit, head="ForCTC")
    if edit == "use_exit":
        with pytest.raises(sv.SottovoceError, match="early"):
            Graph(model)
        return
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    compare(model, in_torch(Graph(model).eval()), "tokens", speech())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_whispers_encoder_alone() -> None:
    model = whisper_encoder()
    graph = Graph(model).eval()
    assert graph.gives == "states"
    compare(model, in_torch(graph), "states", speech((16_000, 9_123)), bound=2e-4)


def test_a_graph_without_lengths_says_the_same_of_one_utterance() -> None:
    model = tiny("sew", head="ForCTC")
    graph = Graph(model, lengths=False).eval()
    assert graph.inputs == ("waveform",)
    piece = speech()[1]
    with torch.no_grad():
        found = graph(torch.from_numpy(piece)[None])["log_probs"][0].numpy()
    np.testing.assert_allclose(found, alone(model, piece, "tokens")["log_probs"], atol=2e-6)


def test_bytes_go_by_the_numbers_that_they_stand_for() -> None:
    model = tiny("hubert", head="ForCTC")
    rounded = sv.quantize(model)
    graph = Graph(rounded).eval()
    for path in ("hubert.encoder.layers.1.attention.q_proj", "lm_head"):
        assert torch.equal(graph.model.get_submodule(path).weight, rounded.get_submodule(path).weight)
    assert graph.model.dtype == torch.float32


def slow_log_mel(piece: np.ndarray, window: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """Kaldi's filter banks, frame by frame with the sums of a transform's definition, in float64."""
    rows = []
    turns = np.exp(-2j * math.pi * np.outer(np.arange(400), np.arange(257)) / 512)
    for start in range(0, len(piece) - 399, 160):
        frame = piece[start : start + 400].astype(np.float64) * 2.0**15
        frame = frame - frame.mean()
        emphasised = frame - 0.97 * np.concatenate([frame[:1], frame[:-1]])
        energies = np.abs((emphasised * window) @ turns) ** 2
        rows.append(np.log(np.maximum(energies @ filters, 2.0**-23)))
    return np.array(rows)


@pytest.mark.parametrize("samples", [400, 559, 560, 720, 16_000, 16_159])
def test_log_mel_is_its_definition_at_every_parity_of_frames(samples: int) -> None:
    front = LogMel(bins=40, stack=2)
    front.mean.copy_(torch.linspace(1, 2, 40))
    front.std.copy_(torch.linspace(2, 3, 40))
    piece = speech([samples])[0]
    wanted = slow_log_mel(piece, front.window.double().numpy(), front.filters.double().numpy())
    wanted = (wanted - front.mean.numpy()) / front.std.numpy()
    wanted = wanted[: len(wanted) // 2 * 2].reshape(-1, 80)
    found = GraphLogMel(front)(torch.from_numpy(piece)[None])[0].T.numpy()
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, atol=2e-5)


def test_silence_is_silence_to_log_mel_whatever_normalising_makes_of_it() -> None:
    """Speech with an offset and a pause of zeros, which have an offset once the mean is taken."""
    (loud,) = speech((16_000,))
    loud[4_000:12_000] = 0.0
    model = edited("hubert", "use_log_mel", head="ForCTC")
    graph = Graph(model)
    given = graph.inputs_of(torch.from_numpy(loud)[None], torch.tensor([16_000]))["input_values"]
    fronts = [next(part for part in of.modules() if isinstance(part, GraphLogMel | LogMel)) for of in (graph, model)]
    quiet = fronts[0](torch.zeros(1, 16_000))[0, :, 15:30]
    assert torch.equal(fronts[0](given)[0, :, 15:30], quiet)
    centered = normalized(torch.from_numpy(loud)[None], None)
    torch.testing.assert_close(fronts[1](centered)[0, :, 15:30], quiet)
    compare(model, lambda audio: batched(graph, audio), "tokens", [loud], bound=1e-3)


def batched(graph: Graph, audio: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    batch = {name: torch.from_numpy(value) for name, value in batch_of(audio, shortest=graph.shortest).items()}
    with torch.no_grad():
        return {name: value.numpy() for name, value in graph(**batch).items()}


def test_the_fronts_of_other_families_are_their_feature_extractors() -> None:
    audio = speech((16_000, 9_123))
    batch = {name: torch.from_numpy(value) for name, value in batch_of(audio).items()}
    seamless, whisper = transformers.SeamlessM4TFeatureExtractor(), transformers.WhisperFeatureExtractor()
    found = SeamlessFront(seamless)(batch["waveform"], batch["lengths"])
    for row, piece in enumerate(audio):
        wanted: Any = seamless(piece, sampling_rate=16_000, return_tensors="np")
        count = int(wanted["attention_mask"].sum())
        assert int(found["attention_mask"][row].sum()) == count
        np.testing.assert_allclose(
            found["input_features"][row, :count].numpy(), wanted["input_features"][0, :count], atol=1e-3
        )
    features = WhisperFront(whisper)(batch["waveform"], batch["lengths"])["input_features"].numpy()
    wanted = whisper(audio, sampling_rate=16_000, return_tensors="np")["input_features"]
    np.testing.assert_allclose(features, wanted, atol=2e-4)


def test_normalising_is_the_feature_extractors() -> None:
    audio = speech((16_000, 9_123))
    batch = {name: torch.from_numpy(value) for name, value in batch_of(audio).items()}
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
    wanted = extractor(audio, sampling_rate=16_000, return_tensors="np", padding=True)["input_values"]
    np.testing.assert_allclose(normalized(batch["waveform"], batch["lengths"]).numpy(), wanted, atol=2e-6)
    single = torch.from_numpy(audio[1])[None]
    np.testing.assert_allclose(normalized(single, None)[0].numpy(), wanted[1, : len(audio[1])], atol=2e-6)


# An encoder of two layers under a log-mel front end shows most at once; the whole matrix is slow.
QUICK = {
    "log-mel": ("hubert", "use_log_mel", "ForCTC"),
    "mimic": ("wav2vec2", "mimic_positional", "ForSequenceClassification"),
    "whisper": ("whisper", "nothing", "ForSequenceClassification"),
}


@pytest.mark.parametrize("name", sorted(QUICK))
def test_onnx_runtime_says_of_any_batch_and_length_what_the_model_says(name: str, tmp_path: Path) -> None:
    family, edit, head = QUICK[name]
    layers = {"encoder_layers": 1} if family == "whisper" else {"num_hidden_layers": 1}
    model = edited(family, edit, head=head, **layers)
    graph = Graph(model)
    run = in_onnx(graph, tmp_path / "model.onnx")
    # Silence behind too short audio is at the floor of log-mel, where rounding is all that there is.
    short = 777 if name == "log-mel" else 5
    for audio in (speech(), speech()[:1], speech()[1:3], speech((777, 24_321, short))):
        compare(model, run, graph.gives, audio)


@pytest.mark.slow
@pytest.mark.parametrize("edit", sorted(EDITS))
@pytest.mark.parametrize("family", sorted(TINY))
def test_every_family_and_edit_in_both_runtimes(family: str, edit: str, tmp_path: Path) -> None:
    if not possible(family, edit) or edit == "use_exit":
        return
    head = "ForSequenceClassification" if family == "whisper" else "ForCTC"
    model = edited(family, edit, head=head)
    graph = Graph(model)
    for opened in (in_onnx, in_openvino):
        run = opened(graph, tmp_path / "model.onnx")
        for audio in (speech(), speech()[1:2]):
            compare(model, run, graph.gives, audio, bound=2e-3 if family == "wav2vec2-bert" else 5e-5)


@pytest.mark.slow
@pytest.mark.parametrize("head", ["", *HEADS[1:]])
@pytest.mark.parametrize("family", sorted(TINY))
def test_every_head_in_both_runtimes(family: str, head: str, tmp_path: Path) -> None:
    try:
        model = tiny(family, head=head, **(SMALL_HEADS if head == "ForXVector" else {}))
    except sv.SottovoceError:
        return
    graph = Graph(model)
    for opened in (in_onnx, in_openvino):
        compare(model, opened(graph, tmp_path / "model.onnx"), graph.gives, speech(), bound=2e-3)


def test_an_opset_that_is_too_old_is_refused(tmp_path: Path) -> None:
    with pytest.raises(sv.SottovoceError, match="opset=9"):
        write_onnx(Graph(tiny("hubert")), tmp_path / "model.onnx", opset=9)
