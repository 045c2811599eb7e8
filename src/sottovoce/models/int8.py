"""Linears whose weights are whole numbers of one byte: a quarter of the memory, and the same numbers everywhere."""

import functools
import time
import warnings
from collections.abc import Callable
from typing import Any, Literal, final

import torch
from torch import nn

from sottovoce.errors import SottovoceError

Scales = Literal["dynamic", "static"]

LARGEST = 127  # a level is a whole number from -127 to 127
EXACT = 1024  # so many products of two levels add up exactly in float32: 1024 x 127 x 127 < 2 ** 24
NARROWEST = 8  # of one input, PyTorch's product of bytes is wrong; of so few, no product is worth its calls
TINY = 1e-20  # the smallest step: a frame of zeros has one, too


@final
class Int8Linear(nn.Module):
    """A Linear with a byte for each weight; it multiplies bytes, adds up whole numbers, and cannot learn.

    A weight is its level times the scale of its output. An input is rounded to a level as well, by the largest of its
    own frame (dynamic: what else is in the batch does not matter) or by the one `input_scale` (static).

    Example:
        >>> quantized(nn.Linear(768, 3072)).levels.dtype
        torch.int8
    """

    def __init__(
        self, levels: torch.Tensor, scale: torch.Tensor, bias: Any, *, input_scale: torch.Tensor | None = None
    ):
        super().__init__()
        # Buffers: a byte takes no gradients, so no switch of the parameters' may ask it to.
        self.levels = nn.Buffer(levels)
        self.scale = nn.Buffer(scale)
        self.input_scale = None if input_scale is None else nn.Buffer(input_scale)
        self.bias = bias
        has_fast_product()  # found out here, and not inside a forward pass that somebody measures

    @property
    def in_features(self) -> int:
        """The width that comes in."""
        return self.levels.shape[1]

    @property
    def out_features(self) -> int:
        """The width that goes out."""
        return self.levels.shape[0]

    @property
    def scales(self) -> Scales:
        """Where the scale of the inputs comes from."""
        return "dynamic" if self.input_scale is None else "static"

    @property
    def weight(self) -> torch.Tensor:
        """The numbers that the levels stand for."""
        return self.levels * self.scale[:, None]

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """The product of the rounded inputs and the rounded weights, and the bias."""
        frames = hidden_states.detach().reshape(-1, self.in_features).float()
        if self.input_scale is None:
            step = step_of(frames.abs().amax(-1, keepdim=True))
            levels = torch.mul(frames, step.reciprocal()).round_().to(torch.int8)
        else:
            step = self.input_scale.float()
            levels = torch.mul(frames, step.reciprocal()).round_().clamp_(-LARGEST, LARGEST).to(torch.int8)
        output = product(levels, self.levels).to(torch.float32).mul_(step)
        scale = self.scale.float()
        bias = output.new_zeros(()) if self.bias is None else self.bias.detach().float()
        torch.addcmul(bias, output, scale, out=output)
        output = output.to(hidden_states.dtype).view(*hidden_states.shape[:-1], self.out_features)
        if torch.is_grad_enabled() and hidden_states.requires_grad:
            return Unlearnable.apply(output, hidden_states)  # pyright: ignore[reportReturnType] - a tensor
        return output


@final
class Unlearnable(torch.autograd.Function):
    """Lets numbers pass and stops gradients with a sentence: rounding has none, and silence would train nonsense."""

    @staticmethod
    def forward(ctx: Any, output: torch.Tensor, hidden_states: torch.Tensor) -> torch.Tensor:
        """A copy, which others may write into; the input is here so that its gradient is asked for."""
        return output.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        """Never computes anything."""
        raise SottovoceError(
            "gradients would have to pass through a model that is quantised to int8, but rounding has none: train "
            "first and quantise last, or train only the head of a frozen model."
        )


def quantized(linear: Any, largest: float | None = None) -> Int8Linear:
    """A Linear with its weights rounded to bytes; with the `largest` of its inputs, these get one scale for ever.

    Example:
        >>> quantized(nn.Linear(768, 3072), largest=4.2).scales
        'static'
    """
    weight = linear.weight.detach().float()
    scale = step_of(weight.abs().amax(1))
    levels = (weight / scale[:, None]).round_().to(torch.int8)
    step = None if largest is None else step_of(torch.tensor(largest, dtype=torch.float32, device=weight.device))
    return Int8Linear(levels, scale, linear.bias, input_scale=step).train(linear.training)


def step_of(largest: torch.Tensor) -> torch.Tensor:
    """The distance between two levels, if the last one is to reach the largest number."""
    return (largest / LARGEST).clamp(min=TINY)


def product(rows: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The exact products of each row with the weights of each output, as int32: (rows, outputs).

    Example:
        >>> product(torch.ones(1, 768, dtype=torch.int8), torch.ones(2, 768, dtype=torch.int8))
        tensor([[768, 768]], dtype=torch.int32)
    """
    fast = rows.device.type == "cpu" and rows.shape[1] >= NARROWEST and has_fast_product()
    return product_by_bytes(rows, weights) if fast else product_by_floats(rows, weights)


def product_by_bytes(rows: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The instruction that CPUs have for this, if they have it."""
    return torch._int_mm(rows, weights.t())  # pyright: ignore[reportPrivateImportUsage] - there is no public name


def product_by_floats(rows: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The same whole numbers on any machine, by pieces whose sums float32 holds exactly."""
    total = torch.zeros(len(rows), len(weights), dtype=torch.int32, device=rows.device)
    with torch.autocast(rows.device.type, enabled=False):
        for some, others in zip(rows.split(EXACT, 1), weights.split(EXACT, 1), strict=True):
            total += (some.float() @ others.float().t()).to(torch.int32)
    return total


@functools.cache
def has_fast_product() -> bool:
    """Whether this CPU multiplies bytes exactly and no slower than floats: asked of the CPU itself, once a process.

    Some have no instruction for it (oneDNN then takes ages), others one whose sums of bytes overflow.
    """
    rows = torch.full((32, 256), LARGEST, dtype=torch.int8, device="cpu")
    weights = torch.full((256, 256), LARGEST, dtype=torch.int8, device="cpu")
    weights[1::2] = -LARGEST
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")
            found, wanted = product_by_bytes(rows, weights), product_by_floats(rows, weights)
            if not torch.equal(found, wanted):
                return False
            bytes_take = quickest(lambda: product_by_bytes(rows, weights))
            return bytes_take <= quickest(lambda: product_by_floats(rows, weights))
    except (RuntimeError, NotImplementedError, AttributeError):
        # This torch has no product of bytes, or none for this processor: the one by floats says the same.
        return False


def quickest(call: Callable[[], Any]) -> float:
    """The seconds of the quickest of five calls, or of the first if it takes very long."""
    taken: list[float] = []
    while len(taken) < 5 and min(taken, default=0.0) < 0.02:
        begin = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begin)
    return min(taken)


def check_unquantized(model: nn.Module, what: str) -> None:
    """Refuse to change a model after its weights were rounded to bytes."""
    if any(isinstance(module, Int8Linear) for module in model.modules()):
        raise SottovoceError(
            f"{what}: this model is quantised to int8, whose matrices cannot be changed any more; quantise last."
        )
