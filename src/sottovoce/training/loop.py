"""The one training loop: on one CPU, one GPU or many, interrupted or not, the same seed gives the same weights."""

import atexit
import contextlib
import itertools
import math
import time
from collections.abc import Callable, Generator, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, broadcast_object_list, is_tensorboard_available
from torch import nn
from transformers import PreTrainedModel

from sottovoce.data.batches import Source, ahead
from sottovoce.errors import SottovoceError
from sottovoce.files import work_folder
from sottovoce.models.modes import own_modes
from sottovoce.progress import Advance, bar
from sottovoce.signals import STOPS, deferred
from sottovoce.training.chance import own_chance, seed
from sottovoce.training.clock import Trained, ended
from sottovoce.training.devices import part_processes
from sottovoce.training.optimizers import clipped_parameters, make_optimizers, tell_step
from sottovoce.training.precision import autocast_to, fast_attention
from sottovoce.training.settings import Training
from sottovoce.training.state import Keeper, identity, trained_tensors

# A score, higher is better, and on request more numbers for the log.
Validate = Callable[[nn.Module], float | tuple[float, dict[str, float]]]
_JUDGING: ContextVar[bool] = ContextVar("judging", default=False)


@dataclass(frozen=True)
class Outcome:
    """How a training ended; `seconds` are of all processes that it took, as `Trained` has them.

    Example:
        >>> Outcome(steps=100, loss=0.3, best=0.91, best_step=80, seconds=12.0).best_step
        80
    """

    steps: int
    loss: float | None
    best: float | None
    best_step: int
    seconds: float


def train(
    objective: nn.Module,
    source: Source,
    settings: Training,
    *,
    folder: str | Path | None = None,
    validate: Validate | None = None,
    about: object = None,
    name: str = "training",
) -> Outcome:
    """Train those of a module's parameters that take gradients, in place.

    `objective(batch)` returns the batch's summed loss and its weight, for example how many frames it sums over; the
    loss of an update is the one sum over the other, however many batches, processes and devices it is spread over. An
    objective may have `rates()`, parameters that learn at `Rates` of their own, and `on_step(done, steps)`, which is
    told before each update and each validation how many updates are done: for ramps, and for what is drawn anew.
    `validate` gives a score, higher is better; training ends with the weights of the best one. Into `folder` (of the
    run that is under way, if not given) go checkpoints, from which a training that was stopped goes on to the very
    same weights, and the log. A checkpoint is taken up only by the same training: same tensors at the start, settings,
    batches, and `about`, which says what else matters.

    Example:
        >>> train(objective, source, Training(steps=500, lr=1e-3), folder="training").steps
        500
    """
    if folder is None and (place := work_folder()) is not None:
        folder = place / name.replace(" ", "-")
    return _Loop(objective, source, settings, folder, validate, about, name).run()


class _Loop:
    """One training under way."""

    def __init__(
        self,
        objective: nn.Module,
        source: Source,
        settings: Training,
        folder: str | Path | None,
        validate: Validate | None,
        about: object,
        name: str,
    ) -> None:
        self.objective, self.source, self.settings, self.validate = objective, source, settings, validate
        self.name = name
        parameters = [parameter for parameter in objective.parameters() if parameter.requires_grad]
        plan = source.plan(0)
        if not parameters:
            raise SottovoceError("nothing in this model takes gradients; train at least one part.")
        if not plan:
            raise SottovoceError("there is nothing to train on: the training split has no utterances.")
        known = ""
        if folder is not None:  # without one there is nothing to take up, and no need to read every tensor
            heard = [source.names(items) for items in plan]
            known = identity(objective, settings, [heard, about, validate is not None])
        self.keeper = Keeper(folder, known)
        unused = DistributedDataParallelKwargs(find_unused_parameters=True)
        board = "tensorboard" if folder is not None and is_tensorboard_available() else None
        # Precision and accumulation are this loop's own affair, whatever `accelerate config` says.
        self.accelerator = Accelerator(
            mixed_precision="no",
            gradient_accumulation_steps=1,
            log_with=board,
            project_dir=folder,
            kwargs_handlers=[unused],
        )
        self.home = parameters[0].device
        # A training inside another one's validation is of the one process that validates.
        alone = _JUDGING.get() or self.accelerator.num_processes == 1
        self.rank, self.world = (0, 1) if alone else (self.accelerator.process_index, self.accelerator.num_processes)
        if self.world > 1:
            atexit.register(part_processes)
        self.optimizers = make_optimizers(objective, settings)
        self.clipped = clipped_parameters(self.optimizers)
        self.device = self.accelerator.device
        self.wrapped: Any = objective.to(self.device) if alone else self.accelerator.prepare_model(objective)
        self.parameters = parameters
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=settings.precision == "fp16")
        self.position = self.keeper.load(objective, self.optimizers)
        if self.rank == 0:
            self.keeper.cut_log(self.position.step)
        if self.position.scaler:
            self.scaler.load_state_dict(self.position.scaler)
        self.begin, self.spent, self.was_done = time.monotonic(), self.position.seconds, self.done()

    def run(self) -> Outcome:
        """All steps that are left; whatever happens, the objective is left where and as it was."""
        self.begin = time.monotonic()
        self.accelerator.init_trackers("log")
        try:
            checkpoints = checkpointed(self.objective, self.settings.checkpoint_gradients)
            attention = fast_attention(self.objective, self.device, self.settings.precision)
            with own_modes(self.objective), attention, own_chance(), checkpoints, torch.enable_grad():
                try:
                    self.go()
                except STOPS:
                    # One process of several may be stopped on its own, while the others wait in an update.
                    if self.rank == 0:
                        self.save()
                    raise
            self.tick()
            if self.rank == 0:
                self.save(finished=True)
            if self.world > 1:
                self.accelerator.wait_for_everyone()
            if self.position.best is not None:
                self.keeper.load_best(self.objective)
        finally:
            # Not `end_training`, which would also part the processes, and this may not be their last training.
            for tracker in self.accelerator.trackers:
                tracker.finish()
            self.objective.to(self.home)
        position = self.position
        if not _JUDGING.get():
            ended(Trained(self.name, position.step, position.seconds))
        return Outcome(position.step, position.loss, position.best, position.best_step, position.seconds)

    def go(self) -> None:
        """The steps."""
        settings, position = self.settings, self.position
        heard, since = 0.0, time.monotonic()
        saved = since
        self.wrapped.train()
        with bar(self.name, settings.steps) as advance, contextlib.closing(self.steps(position.step)) as steps:
            advance(position.step)
            if self.validate is not None and position.step and self.due() and position.judged != position.step:
                self.judge()  # an earlier call was stopped in the middle of this validation
                self.wrapped.train()
            for batches, items in steps:
                if self.stopped():
                    break
                # A wish to stop waits for the end of an update: half of one could not be gone on from.
                with deferred():
                    position.loss = self.step(batches, items)
                    position.step += 1
                    heard += self.source.seconds(items)
                    self.tell(advance, heard / max(1e-9, time.monotonic() - since))
                if self.validate is not None and self.due():
                    self.judge()
                    self.wrapped.train()
                    saved = -math.inf
                if time.monotonic() - saved > settings.save_seconds and self.rank == 0:
                    self.save()
                    saved = time.monotonic()

    def done(self) -> bool:
        """Whether nothing is left to do."""
        judged = self.validate is None or self.position.judged == self.position.step
        return self.stopped() or (self.position.step == self.settings.steps and judged)

    def tick(self) -> None:
        """Count the time of this process; reading a training that was done takes none."""
        if not self.was_done:
            self.position.seconds = round(self.spent + time.monotonic() - self.begin, 3)

    def stopped(self) -> bool:
        """Whether it was enough: no better score for too long."""
        return self.settings.patience is not None and self.position.worse >= self.settings.patience

    def due(self) -> bool:
        """Whether to validate after this step."""
        every = self.settings.validate_every
        return self.position.step == self.settings.steps or (every is not None and self.position.step % every == 0)

    def steps(self, first: int) -> Generator[tuple[list[Any], list[int]]]:
        """The batches of each update that is left, loaded ahead, and all processes' items in them."""
        settings = self.settings
        rank, world = self.rank, self.world
        micro = (items for epoch in itertools.count() for items in self.source.plan(epoch))
        micro = itertools.islice(micro, first * settings.accumulate, settings.steps * settings.accumulate)
        # Every process loads its share; one that has none runs an item of another's, without weight.
        mine, whole = itertools.tee(micro)
        loads = ahead(lambda items: self.source.load(items[rank::world] or items[:1]), mine)
        with contextlib.closing(loads):
            while True:
                parts = list(itertools.islice(zip(loads, whole, strict=False), settings.accumulate))
                if not parts:
                    return
                batches = [(batch, len(items) > rank) for batch, items in parts]
                yield batches, [item for _, items in parts for item in items]

    def step(self, batches: list[Any], items: list[int]) -> float:
        """One update; the loss, or a stop where it is no number."""
        settings, position = self.settings, self.position
        tell_step(self.objective, position.step, settings.steps)
        # Chance at a step is a matter of the step alone, so that nothing of it must be kept to go on.
        seed(self.device, settings.seed, position.step, self.rank)
        total: Any = torch.zeros(2, device=self.device)
        for number, (batch, mine) in enumerate(batches):
            last = number == len(batches) - 1
            with contextlib.nullcontext() if last or self.world == 1 else self.wrapped.no_sync():
                with autocast_to(self.device, settings.precision):
                    loss, weight = self.wrapped(batch.to(self.device))
                self.scaler.scale(loss if mine else 0.0 * loss).backward()
            if mine:
                total += torch.stack([loss.detach().float(), torch.as_tensor(weight, device=self.device).float()])
        if self.world > 1:
            total = self.accelerator.reduce(total, reduction="sum")
        summed, weight = total.tolist()
        mean = summed / weight if weight else 0.0
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
        # Sums of gradients become those of the mean; DistributedDataParallel has divided by the processes before.
        scale = self.world / max(weight, 1e-12)
        clipped, free = self.clipped
        norm, rest = (
            scale * float(torch.nn.utils.get_total_norm(p.grad for p in group if p.grad is not None))
            for group in (clipped, free)
        )
        if not math.isfinite(mean) or not (math.isfinite(norm + rest) or self.scaler.is_enabled()):
            self.refuse("loss" if not math.isfinite(mean) else "gradient", mean, items)
        factor = settings.clip / norm if settings.clip is not None and norm > settings.clip else 1.0
        multiply = torch._foreach_mul_  # pyright: ignore[reportPrivateImportUsage] (torch's own optimizers use it)
        for parameters, by in ((clipped, scale * factor), (free, scale)):
            if gradients := [p.grad for p in parameters if p.grad is not None]:
                multiply(gradients, by)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["share"] * settings.rate(position.step)
            # The scaler knows of each optimizer by itself, but an update is one: all of it or nothing.
            if math.isfinite(norm + rest):
                self.scaler.step(optimizer)
            optimizer.zero_grad(set_to_none=True)
        self.scaler.update()
        return mean

    def refuse(self, what: str, value: float, items: list[int]) -> None:
        """Stop at a loss that is no number, with all that helps to find out why."""
        names = self.source.names(items)
        shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        kept = self.keeper.checkpoint
        place = f"the last good checkpoint is {kept}" if kept is not None else "no checkpoint was written yet"
        if self.rank == 0:
            self.keeper.log({"step": self.position.step, "bad": what, "value": str(value), "utterances": names})
        bad = [name for name, tensor in trained_tensors(self.objective).items() if not bool(tensor.isfinite().all())]
        which = f" and {bad[0]} is not finite" if bad else ""
        raise SottovoceError(
            f"the {what} is {'not finite' if what == 'gradient' else value}{which} at step {self.position.step + 1} "
            f"(utterances {shown}); {place}: check these utterances, or lower the learning rate ({self.settings.lr:g})."
        )

    def tell(self, advance: Advance, rate: float) -> None:
        """Progress, and the log."""
        position, settings = self.position, self.settings
        advance(1, note=f"loss {position.loss:.4g}, {rate:.0f} s of audio a second")
        if position.step % settings.log_every == 0 or position.step == settings.steps:
            values = {"loss": position.loss, "lr": settings.rate(position.step - 1), "audio_rate": round(rate, 1)}
            if self.rank == 0:
                self.keeper.log({"step": position.step, **values})
            self.accelerator.log({f"train/{name}": value for name, value in values.items()}, step=position.step)

    def judge(self) -> None:
        """Validate, and keep the weights if they are the best so far."""
        assert self.validate is not None
        # One process judges for all: were each to do it, a last bit could make one stop and leave the others waiting.
        verdict: list[Any] = [None]
        if self.rank == 0:
            self.objective.eval()
            token = _JUDGING.set(True)
            tell_step(self.objective, self.position.step, self.settings.steps)
            before = {name: buffer.clone() for name, buffer in self.objective.named_buffers()}
            try:
                with torch.no_grad():
                    result = self.validate(self.objective)
            except STOPS:
                # It will be done once more from its beginning, so nothing of it may be left.
                for name, buffer in self.objective.named_buffers():
                    buffer.copy_(before[name])
                raise
            finally:
                _JUDGING.reset(token)
            verdict = [result if isinstance(result, tuple) else (result, {})]
        score, more = (broadcast_object_list(verdict) if self.world > 1 else verdict)[0]
        if math.isnan(score):
            raise SottovoceError(f"the validation score is NaN at step {self.position.step}; check the dev split.")
        position = self.position
        with deferred():
            if position.best is None or score > position.best:
                position.best, position.best_step, position.worse = score, position.step, 0
                if self.rank == 0 or self.keeper.folder is None:
                    self.keeper.save_best(self.objective)
            else:
                position.worse += 1
            position.judged = position.step
            if self.rank == 0:
                self.keeper.log({"step": position.step, "score": score, **more})
        values = {f"validation/{name}": value for name, value in {"score": score, **more}.items()}
        self.accelerator.log(values, step=position.step)

    def save(self, *, finished: bool = False) -> None:
        """A checkpoint of now."""
        self.position.scaler = self.scaler.state_dict() if self.scaler.is_enabled() else {}
        self.tick()
        with deferred():
            self.keeper.save(self.objective, self.optimizers, self.position, finished=finished)


@contextlib.contextmanager
def checkpointed(objective: nn.Module, on: bool) -> Iterator[None]:
    """Hidden states are computed again in the backward pass instead of kept: more time, less memory."""
    models = [module for module in objective.modules() if isinstance(module, PreTrainedModel)] if on else []
    if any(isinstance(module, nn.BatchNorm1d) for model in models for module in model.modules()):
        raise SottovoceError(
            "checkpoint_gradients would count each batch twice in this model's batch norms; leave it off."
        )
    for model in models[:1]:  # a model switches the models inside it
        # The older name is deprecated in the versions of transformers that have the newer one.
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable({"use_reentrant": False})
    try:
        yield
    finally:
        for model in models[:1]:
            disable = getattr(model, "activation_checkpointing_disable", None) or model.gradient_checkpointing_disable
            disable()
