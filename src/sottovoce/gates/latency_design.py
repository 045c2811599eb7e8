"""Parts of a model, cut to many shapes, and what each of them takes on this machine."""

import copy
import itertools
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import torch
from torch import nn

from sottovoce.errors import SottovoceError
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.counting import Part
from sottovoce.models.edits import keep_channels, keep_feed_forward, keep_heads, keep_layers
from sottovoce.models.front_end import SAMPLE_RATE
from sottovoce.models.narrow import check_narrowing, fold_weight_norm, keep_hidden
from sottovoce.models.widths import Widths, widths_of
from sottovoce.progress import bar, track
from sottovoce.timing import in_turns, quartiles

K = TypeVar("K")
# Parts with their inputs -> the seconds of each round, all parts in turns.
Timer = Callable[[Mapping[K, tuple[nn.Module, tuple[torch.Tensor, ...]]]], Mapping[K, Sequence[float]]]
WHOLE: Part = ()
COPIES = 24  # cut models; the first is whole, the second as small as any
SMALLEST = 8  # the smallest width of a part is this share of its full one
MULTIPLE = 16  # of channels: kernels round others up, and some lose time over it
LAYERS = 3  # of each copy are timed alone
BUDGET, FEWEST, MOST = 15.0, 9, 60  # seconds for all rounds; rounds


@dataclass(frozen=True)
class Setting:
    """At what the time is taken: the length of one utterance, how many run together, and how many threads.

    Args:
        threads: None takes as many as torch uses by itself.
        timer: what takes the time; None for PyTorch itself.

    Example:
        >>> Setting(seconds=10.0, threads=1).samples
        160000
    """

    seconds: float = 1.0
    batch: int = 1
    threads: int | None = None
    timer: Any = field(default=None, metadata={"option": False}, compare=False, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """What a stored file holds of it."""
        return {"seconds": self.seconds, "batch": self.batch, "threads": self.threads}

    @property
    def samples(self) -> int:
        """The samples of one utterance."""
        return round(self.seconds * SAMPLE_RATE)


@dataclass(frozen=True)
class Row:
    """What one part of one cut model took; the empty part is the whole model.

    Example:
        >>> Row(3, ("front_end", 0), widths, 0.0011).seconds
        0.0011
    """

    copy: int
    part: Part
    widths: Widths
    seconds: float


class Passing(nn.Module):
    """A module with the arguments of its pass that no timer need see.

    Example:
        >>> Passing(nn.Identity(), (), {})(torch.zeros(2)).shape
        torch.Size([2])
    """

    def __init__(self, module: nn.Module, rest: Sequence[Any], named: Mapping[str, Any]):
        super().__init__()
        self.module, self.rest, self.named = module, tuple(rest), dict(named)

    def forward(self, *inputs: torch.Tensor) -> Any:
        """The module's own pass."""
        return self.module(*inputs, *self.rest, **self.named)


def on_pytorch(parts: Mapping[K, tuple[nn.Module, tuple[torch.Tensor, ...]]]) -> dict[K, list[float]]:
    """The default timer: each part as PyTorch runs it here, all in turns, in as many rounds as there is time for.

    A single thread on CPU is timed by what it itself computed: a busy machine takes the processor away from any pass
    of more than a few milliseconds, so the clock on the wall would make long parts slower than short ones.

    Example:
        >>> len(on_pytorch({"linear": (nn.Linear(8, 8), (torch.zeros(1, 8),))})["linear"])
        60
    """
    functions = {key: partial(module, *inputs) for key, (module, inputs) in parts.items()}
    devices = {
        key: next(itertools.chain(module.parameters(), module.buffers())).device for key, (module, _) in parts.items()
    }
    alone = torch.get_num_threads() == 1 and {device.type for device in devices.values()} == {"cpu"}
    # Windows counts a thread's time in steps of 16 ms.
    clock = time.thread_time if alone and sys.platform != "win32" else time.perf_counter
    with torch.inference_mode():
        once = sum(times[0] for times in in_turns(functions, rounds=1, warm_up=1, devices=devices).values())
        rounds = min(MOST, max(FEWEST, int(BUDGET / once)))
        with bar("timing parts", rounds * len(parts)) as advance:
            return in_turns(functions, rounds=rounds, warm_up=0, devices=devices, tick=advance, clock=clock)


def measured(model: Any, setting: Setting, timer: Timer[tuple[int, Part]], seed: int) -> list[Row]:
    """The times of parts and wholes of `COPIES` cut models."""
    source = random.Random(seed)
    shapes: dict[tuple[int, Part], Widths] = {}
    parts: dict[tuple[int, Part], tuple[nn.Module, tuple[torch.Tensor, ...]]] = {}
    inputs = Anatomy(model).dummy_inputs(setting.seconds, batch=setting.batch)
    main = inputs[model.main_input_name]
    noise = main
    for number in track(range(COPIES), "cutting copies", COPIES):
        small = cut(model, source, full=number == 0, least=number == 1)
        found, widths = captured(small, inputs, source), widths_of(small)
        if number == 0:  # no other copy has wider inputs
            most = max(tensor.numel() for _, given in found.values() for tensor in given)
            noise = torch.randn(most, generator=torch.Generator().manual_seed(seed)).to(main)
        for part, (module, given) in found.items():
            parts[number, part] = module, tuple(standing_in(tensor, noise) for tensor in given)
        parts[number, WHOLE] = small, (main,)
        shapes |= {(number, part): widths for part in (*found, WHOLE)}
    # Shuffled, for a whole that ran next to its own parts would find its weights in the cache.
    order = source.sample(sorted(parts, key=str), len(parts))
    times = timer({key: parts[key] for key in order})
    return [Row(*key, shapes[key], typical(times[key])) for key in parts]


def typical(times: Sequence[float]) -> float:
    """The lower quartile: a busy neighbour (of the caches, too) only adds time, and the shortest round is one draw."""
    return quartiles(times)[0]


def cut(model: Any, source: random.Random, *, full: bool = False, least: bool = False, multiple: int = MULTIPLE) -> Any:
    """A copy of a model at random widths; at its own (`full`), or at the smallest (`least`).

    Channels come in multiples, where there are enough of them.
    The copy shares every tensor that no edit replaces, for edits put new tensors in the place of old ones.
    """
    small = copy.deepcopy(model, {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}).eval()
    body = Anatomy(small)

    def drawn(width: int, step: int = 1) -> int:
        low = max(1, -(-width // SMALLEST // step))
        high = max(low, width // step)
        return min(width, step * (high if full else low if least else source.randint(low, high)))

    if body.family.positional is not None:
        fold_weight_norm(small)
    if full:
        return small
    steps = len(body.order)
    keep_layers(small, sorted(source.sample(range(steps), 1 if least else source.randint(1, steps))))
    for layer in range(len(Anatomy(small).layers)):
        keep_heads(small, layer, range(drawn(body.heads(layer))))
        for which in range(len(body.family.feed_forwards)):
            keep_feed_forward(small, layer, range(drawn(body.feed_forward_width(layer, which))), which=which)
    for index, conv in enumerate(body.convs):
        if index < len(body.convs) - 1 or body.projection is not None:
            width = drawn(conv.out_channels, min(multiple, max(1, conv.out_channels // 4)))
            with suppress(SottovoceError):  # SEW has no projection where channels and hidden size are equal
                keep_channels(small, index, range(width))
    if narrows(small):
        # Whatever chooses the units, they lie anywhere in the groups of the positional convolution.
        hidden = body.config.hidden_size
        keep_hidden(small, sorted(source.sample(range(hidden), drawn(hidden))))
    return small


def narrows(model: Any) -> bool:
    """Whether the hidden size of a model can be cut."""
    try:
        check_narrowing(model, Anatomy(model))
    except SottovoceError:
        return False
    return True


def captured(
    model: Any, inputs: Mapping[str, torch.Tensor], source: random.Random
) -> dict[Part, tuple[nn.Module, tuple[torch.Tensor, ...]]]:
    """The parts of a model that a pass runs, each with what it is given there."""
    found: dict[Part, tuple[nn.Module, tuple[torch.Tensor, ...]]] = {}

    def note(part: Part, timed: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        tensors = tuple(itertools.takewhile(lambda value: isinstance(value, torch.Tensor), args))
        rest = args[len(tensors) :]
        found.setdefault(part, (Passing(timed, rest, named) if rest or named else timed, tensors))

    handles = []
    for part, modules in modules_of(Anatomy(model), source):
        timed = modules[0] if len(modules) == 1 else nn.Sequential(*modules)

        def hook(_: Any, args: Any, named: Any, part: Part = part, timed: nn.Module = timed) -> None:
            note(part, timed, args, named)

        handles.append(modules[0].register_forward_pre_hook(hook, with_kwargs=True))
    try:
        with torch.inference_mode():
            model(**inputs)
    finally:
        for handle in handles:
            handle.remove()
    return found


def standing_in(tensor: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Noise of a tensor's layout, that all parts share: inputs of every part of every copy would fill the memory."""
    last = sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True))
    if not tensor.is_floating_point() or last >= noise.numel():
        return tensor
    return noise.as_strided(tensor.shape, tensor.stride())


def modules_of(body: Anatomy, source: random.Random) -> Iterator[tuple[Part, Sequence[nn.Module]]]:
    """The modules that are timed alone, one behind another; of layers a few.

    The first step is left out, for there WavLM does more than in the others.
    """
    base, family = body.base, body.family
    if family.mel_input:
        yield ("front_end", 0), [base.conv1]
        yield ("front_end", 1), [base.conv2]
    else:
        front = getattr(base, "feature_extractor", None)
        for index, block in enumerate(getattr(front, "conv_layers", [] if front is None else [front])):
            yield ("front_end", index), [block]
        apart = [base.layer_norm, body.projection] if family.skips_projection else [base.feature_projection]
        yield ("feature_projection",), [module for module in apart if module is not None]
    if body.positional is not None and family.positional_runs:
        yield ("positional",), [body.positional]
    first = {layer: step for step, layer in reversed(list(enumerate(body.order)))}
    later = {layer: step for layer, step in first.items() if step > 0} or first
    for layer in source.sample(sorted(later), min(LAYERS, len(later))):
        yield ("layer", later[layer]), [body.layers[layer]]
    if family.squeezes:
        yield ("upsampling",), [base.encoder.upsample]
