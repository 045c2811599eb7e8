"""A pass over audio: every utterance's own frames, each batch once, and the same bits after a stop; sums of batches."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny
from speech import toys

from sottovoce.data.batches import Speech
from sottovoce.data.shelf import Shelf
from sottovoce.errors import SottovoceError
from sottovoce.hearing import as_float16, heard_once, refuse_full, shelved
from sottovoce.models.encoder import Encoder
from sottovoce.training.validation import totals

DATA = toys(train=24, dev=0, test=0)


def test_every_utterance_has_its_own_states(tmp_path: Path) -> None:
    encoder = Encoder(tiny("hubert"))
    shelf = shelved(encoder, lambda inputs: encoder.states(inputs)[1:3], [1, 2], DATA, tmp_path, of="two")
    assert len(shelf) == len(DATA) and shelf.dtype == np.float16
    for utterance in DATA[::5]:
        with encoder.exact(), torch.no_grad():
            alone = encoder.states(encoder.inputs([np.asarray(utterance.audio)]))
        wanted = torch.stack([alone[1][0], alone[2][0]], dim=1)
        torch.testing.assert_close(
            torch.from_numpy(np.array(shelf[utterance.id])).float(), wanted, rtol=2e-3, atol=2e-3
        )


def test_a_pass_that_stopped_goes_on_with_the_same_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sottovoce.hearing.BATCH_SECONDS", 2.0)
    encoder = Encoder(tiny("hubert"))
    asked: list[int] = []

    def through(folder: Path, stop: int | None = None) -> dict[str, bytes]:
        asked.clear()

        def ask(inputs: Any, audio: list[np.ndarray]) -> list[np.ndarray]:
            if stop is not None and len(asked) == stop:
                raise KeyboardInterrupt
            asked.append(len(audio))
            return [row[None] for row in encoder.states(inputs)[-1].mean(1).numpy()]  # says what padding there was

        shelf = Shelf(folder, identity="means", row=(encoder.width,), dtype="float32")
        return {name: shelf[name].tobytes() for name in heard_once(encoder, DATA, shelf, ask, doing="a test")}

    whole = through(tmp_path / "whole")
    batches = list(asked)
    assert len(batches) > 3 and sum(batches) == len(DATA)
    with pytest.raises(KeyboardInterrupt):
        through(tmp_path / "stopped", stop=2)
    assert through(tmp_path / "stopped") == whole and asked == batches[2:]
    assert through(tmp_path / "stopped") == whole and asked == []


def test_a_state_that_is_no_number_is_refused_by_name(tmp_path: Path) -> None:
    encoder = Encoder(tiny("hubert"))

    def ask(inputs: Any) -> list[torch.Tensor]:
        first, second = encoder.states(inputs)[:2]
        return [first, second * torch.nan]

    with pytest.raises(SottovoceError, match="layer 7 of this model gives NaN or infinite states for 'train-"):
        shelved(encoder, ask, [3, 7], DATA, tmp_path, of="nan")


def test_a_full_disk_is_seen_before(tmp_path: Path) -> None:
    refuse_full(tmp_path, 1)
    with pytest.raises(SottovoceError, match="are free"):
        refuse_full(tmp_path, 10**18)


def test_what_is_beyond_float16_is_at_its_end() -> None:
    assert as_float16(torch.tensor([1e6, -1e6, 0.1])).tolist() == [65504.0, -65504.0, float(np.float16(0.1))]


def test_a_validation_adds_up_what_each_batch_says() -> None:
    source = Speech(DATA, lambda chosen, audio: torch.tensor([float(len(piece)) for piece in audio]), 3.0, None)
    assert len(source.plan(0)) > 2
    lengths = [len(np.asarray(utterance.audio)) for utterance in DATA]
    found = totals(torch.nn.Linear(1, 1), source, lambda batch: (batch.sum(), batch.square().sum(), len(batch)))
    assert found == [sum(lengths), pytest.approx(sum(n**2 for n in lengths), rel=1e-6), len(DATA)]
