"""An encoder's view: padded batches give what single utterances give, frames lie where it says."""

from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY, edited, tiny

from sottovoce.models.encoder import Encoder, fingerprint, frame_mask, mean_over_time
from sottovoce.models.front_end import LogMel


def any_encoder(name: str) -> Encoder:
    return Encoder(LogMel() if name == "log-mel" else tiny(name))


@pytest.mark.parametrize("name", [*sorted(TINY), "log-mel"])
def test_a_padded_batch_is_its_utterances(name: str) -> None:
    encoder = any_encoder(name)
    rng = np.random.default_rng(0)
    audio = [rng.standard_normal(length).astype("float32") for length in (9_000, 6_000, 4_321)]
    with encoder.exact(), torch.no_grad():
        together = encoder.states(encoder.inputs(audio))
        assert len(together) == encoder.depth and together[0].shape[-1] == encoder.width
        for row, samples in enumerate(audio):
            alone = encoder.states(encoder.inputs([samples]))
            frames = encoder.frames(len(samples))
            # Whisper's frames go on in its padding; Wav2Vec2-BERT's extractor pads to an even number of windows.
            assert alone[0].shape[1] == frames or name in ("whisper", "wav2vec2-bert")
            for first, second in zip(together, alone, strict=True):
                torch.testing.assert_close(first[row, :frames], second[0, :frames], rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("name", ["hubert", "data2vec-audio", "log-mel", "use_log_mel"])
def test_a_frame_is_where_it_says(name: str) -> None:
    model: Any = LogMel() if name == "log-mel" else edited("hubert", name) if name == "use_log_mel" else tiny(name)
    encoder = Encoder(model)
    front = model if name == "log-mel" else model.feature_extractor
    audio = torch.randn(1, 3_000, generator=torch.Generator().manual_seed(0)).requires_grad_()
    # A group norm looks at the whole utterance; where a frame looks is the convolutions' affair.
    for layer in getattr(front, "conv_layers", ()):
        layer.layer_norm = torch.nn.Identity()
    features = front(audio)
    centers = encoder.centers(features.shape[-1])
    assert features.shape[-1] == encoder.frames(3_000)
    for frame in (0, 3):
        (gradient,) = torch.autograd.grad(features[0, :, frame].sum(), audio, retain_graph=True)
        seen = gradient[0].nonzero().flatten()
        assert (seen[0] + seen[-1] + 1) / 2 / 16_000 == pytest.approx(centers[frame], abs=2e-4)


@pytest.mark.parametrize("name", [*sorted(TINY), "log-mel"])
def test_very_short_audio_makes_a_frame(name: str) -> None:
    encoder = any_encoder(name)
    with encoder.exact(), torch.no_grad():
        for audio in ([np.ones(20, "float32")], [np.ones(20, "float32"), np.ones(4_000, "float32")]):
            hidden = encoder.states(encoder.inputs(audio))
            assert hidden[0].shape[1] >= 1 and torch.isfinite(hidden[-1]).all()
    if name not in ("log-mel", "whisper"):
        outputs = Encoder(encoder.model, outputs=True)
        assert torch.isfinite(encoder.model(**outputs.inputs([np.ones(20, "float32")]))[0]).all()


def test_audio_is_normalised_as_the_processor_says(tmp_path: Any) -> None:
    loud = np.random.default_rng(0).standard_normal(4_000).astype("float32") * 7 + 3
    values = any_encoder("hubert").inputs([loud])["input_values"]
    assert abs(float(values.mean())) < 1e-4 and float(values.std()) == pytest.approx(1.0, abs=1e-3)
    model = tiny("hubert")
    (tmp_path / "preprocessor_config.json").write_text('{"do_normalize": false}')
    model.name_or_path = str(tmp_path)
    assert torch.equal(Encoder(model).inputs([loud])["input_values"][0], torch.from_numpy(loud))


def test_means_leave_padding_out() -> None:
    state = torch.arange(12.0).view(2, 3, 2)
    assert mean_over_time(state, torch.tensor([3, 1])).tolist() == [[2.0, 3.0], [6.0, 7.0]]
    assert frame_mask(torch.tensor([0, 2]), 3).tolist() == [[False] * 3, [True, True, False]]


def test_a_fingerprint_tells_one_encoder_from_another(tmp_path: Any) -> None:
    known = fingerprint(any_encoder("hubert"))
    assert known == fingerprint(any_encoder("hubert"))
    weights, settings, inputs = (tiny("hubert") for _ in range(3))
    with torch.no_grad():
        next(weights.parameters()).flatten()[0] += 1e-3
    settings.config.layer_norm_eps *= 2
    (tmp_path / "preprocessor_config.json").write_text('{"do_normalize": false}')
    inputs.name_or_path = str(tmp_path)
    others = [fingerprint(Encoder(model)) for model in (weights, settings, inputs, LogMel(), LogMel(stack=1))]
    assert len({known, *others}) == 6
