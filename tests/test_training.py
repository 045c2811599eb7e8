"""The training loop against the same steps written by hand, and against everything that stops a training."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from zygote import Child, Zygote

from sottovoce.errors import SottovoceError
from sottovoce.training import Rates, Trained, Training, train, trainings
from sottovoce.training.state import trained_tensors

TRAINING = Training(steps=20, lr=1e-2, save_seconds=1e9)


@dataclass(frozen=True)
class Rows:
    """A batch of the toy problem."""

    x: torch.Tensor
    y: torch.Tensor

    def to(self, device: Any) -> "Rows":
        return Rows(self.x.to(device), self.y.to(device))


@dataclass(frozen=True)
class Toy:
    """A source of rows; `bad` is the row that is not a number."""

    count: int = 40
    size: int = 8
    bad: int | None = None
    delay: float = 0.0

    def plan(self, epoch: int) -> list[list[int]]:
        order = random.Random(epoch).sample(range(self.count), self.count)
        return [order[begin : begin + self.size] for begin in range(0, self.count, self.size)]

    def load(self, items: Sequence[int]) -> Rows:
        time.sleep(self.delay)
        x = torch.stack([torch.randn(6, generator=torch.Generator().manual_seed(item)) for item in items])
        y = x @ torch.arange(6.0)[:, None] / 6
        if self.bad is not None and self.bad in items:
            x[list(items).index(self.bad)] = float("nan")
        return Rows(x, y)

    def names(self, items: Sequence[int]) -> list[str]:
        return [f"row-{item}" for item in items]

    def seconds(self, items: Sequence[int]) -> float:
        return float(len(items))


class Regression(nn.Module):
    """Dropout, a buffer that changes, and a part without gradient."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.frozen = nn.Linear(6, 6).requires_grad_(False)
        self.body = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16) if dropout else nn.LayerNorm(16), nn.Tanh())
        self.dropout, self.head = nn.Dropout(dropout), nn.Linear(16, 1)

    def forward(self, batch: Rows) -> tuple[torch.Tensor, torch.Tensor]:
        out = self.head(self.dropout(self.body(self.frozen(batch.x))))
        return (out - batch.y).square().sum(), torch.tensor(len(batch.x))


def weights(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trained_tensors(module).items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def by_hand(settings: Training, source: Toy) -> dict[str, torch.Tensor]:
    """The same training as plain PyTorch."""
    model = Regression()
    learned = [p for p in model.parameters() if p.requires_grad]
    groups = [[p for p in learned if p.dim() > 1], [p for p in learned if p.dim() == 1]]
    optimizer = torch.optim.AdamW(
        [{"params": groups[0], "weight_decay": settings.weight_decay}, {"params": groups[1], "weight_decay": 0.0}],
        betas=settings.betas,
        eps=settings.eps,
    )
    batches = [items for epoch in range(settings.steps) for items in source.plan(epoch)]
    for step in range(settings.steps):
        loss, weight = torch.zeros(()), 0.0
        for items in batches[step * settings.accumulate : (step + 1) * settings.accumulate]:
            summed, count = model(source.load(items))
            loss, weight = loss + summed, weight + float(count)
        (loss / weight).backward()
        assert settings.clip is not None
        nn.utils.clip_grad_norm_(learned, settings.clip)
        for group in optimizer.param_groups:
            group["lr"] = settings.rate(step)
        optimizer.step()
        optimizer.zero_grad()
    return weights(model)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_steps_are_those_written_by_hand(accumulate: int) -> None:
    settings = replace(TRAINING, accumulate=accumulate, clip=0.1)
    model, source = Regression(), Toy(size=7)  # the last batch of an epoch is smaller
    before = model.frozen.weight.clone()
    train(model, source, settings)
    for name, wanted in by_hand(settings, source).items():
        torch.testing.assert_close(trained_tensors(model)[name], wanted, rtol=2e-5, atol=1e-6)
    assert torch.equal(model.frozen.weight, before)


def test_rates_rise_and_fall() -> None:
    linear = [Training(steps=10, lr=1.0, warmup=0.2).rate(step) for step in range(10)]
    assert linear == pytest.approx([0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125])
    cosine = [Training(steps=10, lr=1.0, warmup=0.0, schedule="cosine").rate(step) for step in range(10)]
    assert cosine == pytest.approx([0.5 * (1 + np.cos(np.pi * step / 10)) for step in range(10)])
    assert Training(steps=10, lr=1.0, warmup=0.0, schedule="constant").rate(9) == 1.0


def test_the_same_seed_gives_the_same_weights_and_leaves_the_callers_chance_alone() -> None:
    results = []
    for _ in range(2):
        model = Regression(dropout=0.3)
        torch.manual_seed(5)
        before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index, union-attr]
        train(model, Toy(), TRAINING)
        results.append(weights(model))
        assert torch.equal(torch.get_rng_state(), before)
        assert (np.random.get_state()[1] == numpy_before).all()  # type: ignore[index]
    other = Regression(dropout=0.3)
    train(other, Toy(), replace(TRAINING, seed=1))
    assert same(*results) and not same(results[0], weights(other))


@pytest.mark.parametrize("precision", ["bf16"])
def test_half_precision_learns_as_well(precision: Any) -> None:
    full, half = Regression(), Regression()
    losses = [
        train(m, Toy(), replace(TRAINING, steps=60, precision=p)).loss for m, p in ((full, "fp32"), (half, precision))
    ]
    first, second = losses
    assert first is not None and second is not None
    assert second == pytest.approx(first, rel=0.5) and not same(weights(full), weights(half))


KILLED = """
import sys, torch
from test_training import Regression, TRAINING, Toy, train, replace, weights
from safetensors.torch import save_file
model = Regression(dropout=0.3)
calls = [0]
def validate(module):
    calls[0] += 1
    return -float(sum(p.square().sum() for p in module.parameters()))
settings = replace(TRAINING, steps=60, save_seconds=0.02, validate_every=25)
train(model, Toy(delay=0.01), settings, folder=sys.argv[1], validate=validate)
save_file(weights(model), sys.argv[2])
"""


def test_killed_at_a_random_step_it_ends_with_the_same_bits(zygote: Zygote, tmp_path: Path) -> None:
    def start(folder: str) -> Child:
        words = [str(tmp_path / folder), str(tmp_path / f"{folder}.safetensors")]
        return zygote.start(words, cwd=tmp_path, python=KILLED)

    undisturbed = start("a")
    kills, luck = 0, random.Random(time.time())
    while not (tmp_path / "b.safetensors").exists():
        process = start("b")
        log = tmp_path / "b" / "log.jsonl"
        while process.poll() is None and kills < 3:
            if log.exists():
                process.wait(after=luck.uniform(0.0, 0.8))
                kills += 1
            time.sleep(0.01)
        assert process.wait() in (0, -signal.SIGKILL)
    assert undisturbed.wait() == 0 and kills >= 1
    assert same(load_file(tmp_path / "a.safetensors"), load_file(tmp_path / "b.safetensors"))
    assert not list(tmp_path.glob("**/*.new")) and not list(tmp_path.glob("**/*.old"))


def test_a_log_says_each_step_once(tmp_path: Path) -> None:
    settings = replace(TRAINING, log_every=5)
    train(Regression(), Toy(), settings, folder=tmp_path)
    steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert steps == [5, 10, 15, 20]
    assert list(tmp_path.glob("log/events.*")), "TensorBoard is installed for tests, so there are events"


def test_what_is_finished_is_not_trained_again(tmp_path: Path) -> None:
    model = Regression()
    train(model, Toy(), TRAINING, folder=tmp_path)
    again = Regression()
    outcome = train(again, Toy(delay=10.0), TRAINING, folder=tmp_path)
    assert same(weights(model), weights(again)) and outcome.steps == 20


@pytest.mark.parametrize("fault", [KeyboardInterrupt, RuntimeError])
def test_the_time_of_a_training_is_of_all_its_processes(tmp_path: Path, fault: type[BaseException]) -> None:
    """Stopped, with a checkpoint at once, or felled behind its last checkpoint; what was lost does not count."""

    felled, seen = Regression(), list[Rows]()
    real = felled.forward

    def fall(batch: Rows) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(batch)
        time.sleep(0.3 if len(seen) == 8 and fault is RuntimeError else 0.02)
        if len(seen) == 8:
            raise fault
        return real(batch)

    felled.forward = fall
    settings = replace(TRAINING, save_seconds=0.0)
    begin = time.monotonic()
    with pytest.raises(fault), trainings() as heard:
        train(felled, Toy(), settings, folder=tmp_path)
    first = time.monotonic() - begin
    assert heard == [], "it has not ended"
    kept = json.loads((tmp_path / "checkpoint" / "state.json").read_text())["position"]["seconds"]
    assert 7 * 0.02 <= kept <= first - (0.3 if fault is RuntimeError else 0.0)
    begin = time.monotonic()
    with trainings() as heard:
        outcome = train(Regression(), Toy(), settings, folder=tmp_path)
    second = time.monotonic() - begin
    assert kept < outcome.seconds <= kept + second
    assert heard == [Trained("training", updates=20, seconds=outcome.seconds)]
    # Reading what is finished takes time, and trains nothing.
    assert train(Regression(), Toy(), settings, folder=tmp_path).seconds == outcome.seconds


def test_a_checkpoint_without_a_time_is_taken_up_and_nonsense_is_refused(tmp_path: Path) -> None:
    train(Regression(), Toy(), TRAINING, folder=tmp_path)
    path = tmp_path / "checkpoint" / "state.json"
    state = json.loads(path.read_text())
    del state["position"]["seconds"]
    path.write_text(json.dumps(state))
    assert train(Regression(), Toy(), TRAINING, folder=tmp_path).seconds == 0.0
    for wrong in (-1.0, "long", True, None):
        path.write_text(json.dumps({**state, "position": {**state["position"], "seconds": wrong}}))
        with pytest.raises(SottovoceError, match="its seconds are .*, but a time is wanted"):
            train(Regression(), Toy(), TRAINING, folder=tmp_path)


@pytest.mark.parametrize("change", [{"lr": 2e-2}, {"steps": 30}, {"seed": 1}])
def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    train(Regression(), Toy(), TRAINING, folder=tmp_path)
    with pytest.raises(SottovoceError, match="other settings, data or model"):
        train(Regression(), Toy(), replace(TRAINING, **change), folder=tmp_path)
    with pytest.raises(SottovoceError, match="other settings, data or model"):
        train(Regression(), Toy(count=41), TRAINING, folder=tmp_path)


def test_a_broken_checkpoint_is_a_sentence(tmp_path: Path) -> None:
    train(Regression(), Toy(), TRAINING, folder=tmp_path)
    (tmp_path / "checkpoint" / "optimizer.safetensors").write_bytes(b"nonsense")
    with pytest.raises(SottovoceError, match="cannot be used"):
        train(Regression(), Toy(), TRAINING, folder=tmp_path)


def test_nan_stops_with_the_step_the_utterances_and_the_checkpoint(tmp_path: Path) -> None:
    order = [items for epoch in range(9) for items in Toy().plan(epoch)]
    step = next(number for number, items in enumerate(order, 1) if 3 in items)
    with pytest.raises(SottovoceError, match=f"nan at step {step} .*row-3.*no checkpoint was written yet"):
        train(Regression(), Toy(bad=3), TRAINING, folder=tmp_path)

    class Sour(Regression):
        """Turns bad behind its tenth step."""

        seen = 0

        def forward(self, batch: Rows) -> tuple[torch.Tensor, torch.Tensor]:
            self.seen += 1
            loss, weight = super().forward(batch)
            return loss * (float("inf") if self.seen > 10 else 1.0), weight

    model = Sour()
    with pytest.raises(SottovoceError, match="inf at step 11 .*the last good checkpoint is .*checkpoint"):
        train(model, Toy(), replace(TRAINING, save_seconds=0.0), folder=tmp_path / "x")
    good = load_file(tmp_path / "x" / "checkpoint" / "trained.safetensors")
    assert same(good, weights(model)), "the bad step changed nothing"
    last = json.loads((tmp_path / "x" / "log.jsonl").read_text().splitlines()[-1])
    assert last["bad"] == "loss" and len(last["utterances"]) == 8


def test_gradients_that_are_no_numbers_stop_as_well() -> None:
    class Corner(Regression):
        """Its loss is finite, its gradient is not."""

        def forward(self, batch: Rows) -> tuple[torch.Tensor, torch.Tensor]:
            loss, weight = super().forward(batch)
            return (loss * 0.0).sqrt(), weight

    with pytest.raises(SottovoceError, match="the gradient is not finite at step 1"):
        train(Corner(), Toy(), TRAINING)


def test_the_best_weights_win_and_patience_stops(tmp_path: Path) -> None:
    scores = iter([0.1, 0.9, 0.5, 0.4, 0.3, 0.2])
    seen: list[dict[str, torch.Tensor]] = []

    def validate(module: nn.Module) -> float:
        seen.append(weights(module))
        assert not module.training
        return next(scores)

    for folder in (None, tmp_path):
        scores = iter([0.1, 0.9, 0.5, 0.4, 0.3, 0.2])
        seen.clear()
        model = Regression()
        settings = replace(TRAINING, steps=60, validate_every=5, patience=3)
        outcome = train(model, Toy(), settings, folder=folder, validate=validate)
        assert (outcome.best, outcome.best_step, outcome.steps) == (0.9, 10, 25)
        assert same(weights(model), seen[1])


def test_nothing_to_learn_and_nothing_to_learn_from() -> None:
    with pytest.raises(SottovoceError, match="nothing in this model takes gradients"):
        train(Regression().requires_grad_(False), Toy(), TRAINING)
    with pytest.raises(SottovoceError, match="nothing to train on"):
        train(Regression(), Toy(count=0), TRAINING)


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"lr": -1.0}, {"lr": float("nan")}, {"warmup": 2.0}, {"clip": 0.0}, {"patience": 0}]
)
def test_settings_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(SottovoceError, match=next(iter(wrong))):
        Training(**wrong)


def test_a_validation_may_train_as_well() -> None:
    inner: list[float | None] = []

    def validate(module: nn.Module) -> float:
        inner.append(train(Regression(), Toy(), TRAINING).loss)
        return 1.0

    model, alone = Regression(dropout=0.3), Regression(dropout=0.3)
    train(model, Toy(), replace(TRAINING, validate_every=5), validate=validate)
    train(alone, Toy(), replace(TRAINING, validate_every=5), validate=lambda module: 1.0)
    assert len(inner) == 4 and len(set(inner)) == 1 and same(weights(model), weights(alone))


TWO = """
import sys
sys.path.insert(0, sys.argv[1])
from test_training import Regression, TRAINING, Toy, train, weights, replace
from accelerate import PartialState
from safetensors.torch import save_file
def validate(module):
    # Each process would say something else; only the first one's word counts. And it trains inside.
    train(Regression(), Toy(), TRAINING)
    return [0.1, 0.5, 0.2, 0.3][validate.calls.append(1) or len(validate.calls) - 1] - PartialState().process_index
for size in map(int, sys.argv[3:]):
    validate.calls = []
    model = Regression()
    train(Regression(), Toy(), TRAINING)
    settings = replace(TRAINING, accumulate=2, validate_every=5, patience=2)
    assert train(model, Toy(size=size), settings, validate=validate).best == 0.5
    if PartialState().is_main_process:
        assert PartialState().num_processes == 2, PartialState()
        save_file(weights(model), f"{sys.argv[2]}/{size}.safetensors")
"""


def test_two_processes_compute_what_one_does(tmp_path: Path) -> None:
    script, sizes = tmp_path / "two.py", (8, 3)
    script.write_text(TWO)
    # `accelerate launch` starts several processes on one machine for GPUs only; torchrun is what it starts them with.
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += [str(script), str(Path(__file__).parent), str(tmp_path), *map(str, sizes)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    for size in sizes:
        alone = Regression()
        scores = iter([0.1, 0.5, 0.2, 0.3])
        settings = replace(TRAINING, accumulate=2, validate_every=5, patience=2)
        train(alone, Toy(size=size), settings, validate=lambda module, scores=scores: next(scores))
        found = load_file(tmp_path / f"{size}.safetensors")
        for name, wanted in weights(alone).items():
            torch.testing.assert_close(found[name], wanted, rtol=1e-5, atol=1e-6)


class Ramped(nn.Module):
    """Weights, gates that learn faster, and a multiplier that rises, all of a loss that knows the step."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.gates = nn.Linear(6, 1), nn.Parameter(torch.full((6,), 0.5))
        self.multiplier = nn.Parameter(torch.zeros(()))
        self.told: list[tuple[int, int]] = []

    def rates(self) -> list[Rates]:
        return [Rates([self.gates], lr=5e-2, clip=True), Rates([self.multiplier], lr=2e-2, ascend=True)]

    def on_step(self, done: int, steps: int) -> None:
        self.told.append((done, steps))

    def forward(self, batch: Rows) -> tuple[torch.Tensor, torch.Tensor]:
        done, steps = self.told[-1]
        count = len(batch.x)
        loss = (self.body(batch.x * self.gates) - batch.y).square().sum()
        gap = self.gates.sum() - 6.0 + 3.0 * done / steps
        return loss + count * (self.multiplier * gap + gap.square()), torch.tensor(count)


def test_rates_of_their_own_and_the_step() -> None:
    """Against three optimizers by hand."""
    settings = replace(TRAINING, clip=0.5)
    by_hand, learned = Ramped(), Ramped()
    source, steps = Toy(), settings.steps
    weights = [{"params": [by_hand.body.weight]}, {"params": [by_hand.body.bias], "weight_decay": 0.0}]
    common: dict[str, Any] = {"betas": settings.betas, "eps": settings.eps, "fused": True}
    optimizers = [
        torch.optim.AdamW(weights, lr=1e-2, weight_decay=settings.weight_decay, **common),
        torch.optim.AdamW([by_hand.gates], lr=5e-2, weight_decay=0.0, **common),
        torch.optim.AdamW([by_hand.multiplier], lr=2e-2, weight_decay=0.0, maximize=True, **common),
    ]
    plan = [items for epoch in range(9) for items in source.plan(epoch)][:steps]
    for done, items in enumerate(plan):
        by_hand.on_step(done, steps)
        loss, count = by_hand(source.load(items))
        loss.backward()
        for parameter in by_hand.parameters():
            assert parameter.grad is not None
            parameter.grad /= count
        nn.utils.clip_grad_norm_([*by_hand.body.parameters(), by_hand.gates], 0.5)
        for optimizer, peak in zip(optimizers, (1e-2, 5e-2, 2e-2), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = peak / settings.lr * settings.rate(done)
            optimizer.step()
            optimizer.zero_grad()
    train(learned, source, settings)
    assert learned.told == [(done, steps) for done in range(steps)]
    assert abs(float(learned.multiplier.detach())) > 0.05, "it has moved"
    for name, parameter in learned.named_parameters():
        torch.testing.assert_close(parameter, dict(by_hand.named_parameters())[name], rtol=1e-5, atol=1e-6)


def test_a_finished_training_keeps_weights_alone(tmp_path: Path) -> None:
    """Of the 20 rounds of a base-size model, moments would be 15 GB; they are needed to go on and for nothing else."""
    objective, source = Regression(), Toy()
    train(objective, source, Training(steps=3, lr=1e-2), folder=tmp_path)
    assert load_file(tmp_path / "checkpoint" / "optimizer.safetensors") == {}
    again = Regression()
    assert train(again, source, Training(steps=3, lr=1e-2), folder=tmp_path).steps == 3
    assert all(torch.equal(a, b) for a, b in zip(objective.parameters(), again.parameters(), strict=True))


def test_rates_of_their_own_resume_bit_equal(tmp_path: Path) -> None:
    whole, halves = Ramped(), Ramped()
    train(whole, Toy(), TRAINING)
    real, count = halves.forward, 0

    def stop_in_the_middle(batch: Rows) -> tuple[torch.Tensor, torch.Tensor]:
        nonlocal count
        count += 1
        if count == 12:
            raise KeyboardInterrupt
        return real(batch)

    halves.forward = stop_in_the_middle
    with pytest.raises(KeyboardInterrupt):
        train(halves, Toy(), TRAINING, folder=tmp_path)
    again = Ramped()
    train(again, Toy(), TRAINING, folder=tmp_path)
    assert again.told[0] == (11, TRAINING.steps)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


@pytest.mark.parametrize(
    ("rates", "words"),
    [
        (lambda model: [Rates([model.gates], lr=float("nan"))], "lr=nan"),
        (lambda model: [Rates([model.gates], lr=1.0), Rates([model.gates], lr=1.0)], "stand once"),
        (lambda model: [Rates([nn.Parameter(torch.zeros(1))], lr=1.0)], "one of the objective's"),
    ],
)
def test_rates_that_do_not_fit_are_refused(rates: Any, words: str) -> None:
    model = Ramped()
    model.rates = lambda: rates(model)
    with pytest.raises(SottovoceError, match=words):
        train(model, Toy(), TRAINING)
