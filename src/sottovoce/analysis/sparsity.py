"""Which weights to set to zero, how many and when (arXiv 2211.09949, with further schedules and patterns).

Masks are true where a weight stays, as `edits.zero_weights` takes them. They depend on the weights alone, not on the
device or the order of any computation: equal weights are told apart by where they stand.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch.nn import functional as F

from sottovoce.errors import SottovoceError, unknown

Tensors = Mapping[str, torch.Tensor]

# The share of zeros after each of the paper's prunings, all of them counted from the whole model.
PAPER_SPARSITIES = (
    *(0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.675),
    *(0.7, 0.71, 0.72, 0.73, 0.74, 0.75, 0.76, 0.77, 0.78, 0.79),
    *(0.8, 0.81, 0.82, 0.83, 0.84, 0.85, 0.86, 0.87, 0.88, 0.89),
    *(0.9, 0.91, 0.915, 0.92, 0.925, 0.93, 0.935, 0.94, 0.945, 0.95),
)
INTEGERS = {torch.float32: torch.int32, torch.float64: torch.int64}
DIGIT = 16  # bits of a number that one pass of the selection sorts by


def sparsity_steps(
    final: float, *, schedule: Literal["paper", "cubic", "once"] = "paper", rounds: int = len(PAPER_SPARSITIES)
) -> tuple[float, ...]:
    """The share of zeros after each pruning, up to `final`.

    `paper` takes the 38 values of arXiv 2211.09949 below `final`, then `final`. `cubic` prunes `rounds` times, much at
    first and little at last: final x (1 - (1 - t / rounds)^3) after round t (Zhu and Gupta, arXiv 1710.01878). `once`
    is one pruning.

    Example:
        >>> sparsity_steps(0.45)
        (0.2, 0.3, 0.4, 0.45)
        >>> sparsity_steps(0.5, schedule="cubic", rounds=2)
        (0.4375, 0.5)
    """
    check_sparsity(final)
    if schedule == "paper":
        return (*(value for value in PAPER_SPARSITIES if value < final), final)
    if schedule == "once":
        return (final,)
    if schedule != "cubic":
        raise unknown("schedule", schedule, ("paper", "cubic", "once"))
    if rounds < 1:
        raise SottovoceError(f"rounds={rounds}, but pruning takes at least one round; give 1 or more.")
    return tuple(final * (1 - (1 - t / rounds) ** 3) for t in range(1, rounds + 1))


def zero_count(sparsity: float, total: int) -> int:
    """How many of so many weights are zero at a sparsity, rounded to the nearest and halves to the even number.

    Example:
        >>> zero_count(0.675, 85_017_600)
        57386880
    """
    check_sparsity(sparsity)
    return round(sparsity * total)


def check_sparsity(sparsity: float) -> None:
    """Refuse what is no share of zeros that leaves something."""
    if not 0 <= sparsity < 1:
        raise SottovoceError(f"sparsity={sparsity}, but a share of weights from 0 up to, not including, 1 is wanted.")


def unstructured_masks(
    tensors: Tensors, sparsity: float, *, before: Tensors | None = None, revive: bool = False
) -> dict[str, torch.Tensor]:
    """Masks without the weights and biases of smallest absolute value over all tensors together.

    Exactly `zero_count` of them go, among equal ones those that come first. What a mask of `before` has dropped stays
    dropped and counts; with `revive` it may come back, for all compete again, as in PARP (arXiv 2106.05933).

    Example:
        >>> unstructured_masks({"weight": torch.tensor([[0.1, -3.0], [2.0, -0.2]])}, 0.5)
        {'weight': tensor([[False,  True],
                [ True, False]])}
    """
    check_tensors(tensors)
    kept = kept_before(tensors, before, revive)
    wanted = still_to_drop(zero_count(sparsity, sum(tensor.numel() for tensor in tensors.values())), kept, sparsity)
    dtypes = [tensor.dtype for tensor in tensors.values()]
    dtype = torch.float64 if torch.float64 in dtypes else torch.float32

    def sizes() -> Iterator[torch.Tensor]:
        return (ordered(tensor, dtype, kept.get(name)) for name, tensor in tensors.items())

    bound, equal = nth_smallest(sizes, wanted, torch.iinfo(INTEGERS[dtype]).bits)
    masks = {}
    for (name, tensor), size in zip(tensors.items(), sizes(), strict=True):
        mask = size >= bound
        if equal:
            ties = (size == bound).nonzero()[:equal, 0]
            mask[ties] = False
            equal -= len(ties)
        mask = mask.view(tensor.shape)
        masks[name] = mask & kept[name] if name in kept else mask
    return masks


def ordered(tensor: torch.Tensor, dtype: torch.dtype, kept: torch.Tensor | None) -> torch.Tensor:
    """Absolute values as integers of the same order, in a row; those that are dropped already come last.

    The bits of floating-point numbers that are not negative, read as integers, rise with the numbers.
    """
    bits = tensor.detach().reshape(-1).to(dtype).abs().view(INTEGERS[dtype])
    return bits if kept is None else bits.masked_fill_(~kept.reshape(-1), torch.iinfo(bits.dtype).max)


def nth_smallest(parts: Callable[[], Iterator[torch.Tensor]], count: int, width: int) -> tuple[int, int]:
    """The count-th smallest of integers that are not negative, and how many equal to it are among the `count`.

    Selection by digits, the highest first: each pass counts how often each value of a digit occurs among the numbers
    that agree in the digits above. So no more than one tensor is copied at a time, and nothing is sorted.
    """
    if not count:
        return -1, 0
    found, left = 0, count
    for shift in range(width - DIGIT, -1, -DIGIT):
        histogram = torch.zeros(1 << DIGIT, dtype=torch.int64)
        for numbers in parts():
            top = shift + DIGIT == width
            some = numbers if top else numbers[numbers >> (shift + DIGIT) == found]
            digits = (some >> shift) & ((1 << DIGIT) - 1)
            histogram += torch.bincount(digits, minlength=1 << DIGIT).cpu()
        sums = histogram.cumsum(0)
        digit = int(torch.searchsorted(sums, left))
        left -= int(sums[digit] - histogram[digit])
        found = found << DIGIT | digit
    return found, left


def two_of_four_masks(tensors: Tensors) -> dict[str, torch.Tensor]:
    """Masks that keep the two largest of every four successive weights of a row (2:4); biases stay whole.

    Rows run along the input. Of equal weights the one of lower index stays.

    Example:
        >>> two_of_four_masks({"weight": torch.tensor([[1.0, -4.0, 2.0, 3.0]])})
        {'weight': tensor([[False,  True, False,  True]])}
    """
    check_tensors(tensors, flat=True)
    masks = {}
    for name, tensor in tensors.items():
        if tensor.dim() < 2:
            masks[name] = torch.ones_like(tensor, dtype=torch.bool)
            continue
        if tensor.shape[1] % 4:
            raise SottovoceError(
                f"'{name}' has {tensor.shape[1]} inputs, but 2:4 needs a multiple of 4; leave it out, or prune it "
                "unstructured or in blocks."
            )
        columns = tensor.detach().abs().reshape(-1, 4).unbind(1)
        stay = []
        for i, own in enumerate(columns):
            # The lower of two equal ones wins.
            ahead = [other >= own if j < i else other > own for j, other in enumerate(columns) if j != i]
            stay.append((ahead[0].byte() + ahead[1].byte() + ahead[2].byte()) < 2)
        masks[name] = torch.stack(stay, 1).view(tensor.shape)
    return masks


def block_masks(
    tensors: Tensors, sparsity: float, *, block: int = 16, before: Tensors | None = None, revive: bool = False
) -> dict[str, torch.Tensor]:
    """Masks without the square blocks of smallest mean absolute value over all matrices; biases stay whole.

    Blocks at the lower and right edges hold what is left there, and their mean is over that. The sparsity is a share of
    the matrices' weights: blocks go, of equal means those that come first, as long as no more weights than that do.
    What a mask of `before` has dropped counts as zero in its block and stays dropped, unless `revive`.

    Example:
        >>> block_masks({"weight": torch.arange(8.0).view(2, 4)}, 0.5, block=2)["weight"][0]
        tensor([False, False,  True,  True])
    """
    check_sparsity(sparsity)
    check_tensors(tensors, flat=True)
    if block < 1:
        raise SottovoceError(f"block={block}, but blocks are at least one weight wide; give 1 or more.")
    matrices = {name: tensor for name, tensor in tensors.items() if tensor.dim() == 2 and tensor.numel()}
    kept = kept_before(tensors, before, revive)
    masks = {name: kept.get(name, torch.ones_like(tensor, dtype=torch.bool)) for name, tensor in tensors.items()}
    if not matrices:
        return masks
    means, counts = zip(*(block_means(tensor, kept.get(name), block) for name, tensor in matrices.items()), strict=True)
    all_means, all_counts = (torch.cat([part.flatten() for part in parts]) for parts in (means, counts))
    wanted = zero_count(sparsity, int(all_counts.sum()))
    still_to_drop(wanted, {name: kept[name] for name in matrices if name in kept}, sparsity)
    order = all_means.argsort(stable=True)
    stay = torch.ones_like(all_means, dtype=torch.bool)
    stay[order[: int(torch.searchsorted(all_counts[order].cumsum(0), wanted, right=True))]] = False
    for (name, matrix), part in zip(matrices.items(), stay.split([mean.numel() for mean in means]), strict=True):
        grid = part.view(-(-matrix.shape[0] // block), -1).to(matrix.device)
        whole = grid.repeat_interleave(block, 0).repeat_interleave(block, 1)
        masks[name] = masks[name] & whole[: matrix.shape[0], : matrix.shape[1]]
    return masks


def block_means(matrix: torch.Tensor, kept: torch.Tensor | None, block: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean absolute value of each block, -1 where all of it is dropped already, and how many weights it holds."""

    def sums(values: torch.Tensor) -> torch.Tensor:
        rows, columns = values.shape
        padded = F.pad(values, (0, -columns % block, 0, -rows % block))
        return padded.view(-1, block, padded.shape[1] // block, block).sum((1, 3))

    # On the CPU, in double precision: every device drops the same blocks so, and Apple's has no doubles.
    values = matrix.detach().abs().cpu().double()
    counts = sums(torch.ones_like(values))
    if kept is None:
        return sums(values) / counts, counts.long()
    stay = kept.cpu()
    means = sums(values * stay) / counts
    return means.masked_fill(sums(stay.double()) == 0, -1.0), counts.long()


def check_tensors(tensors: Tensors, *, flat: bool = False) -> None:
    """Refuse tensors whose numbers have no order, and with `flat` those that are neither matrices nor biases."""
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise SottovoceError(f"'{name}' is of {tensor.dtype}, but floating-point weights are wanted; leave it out.")
        if tensor.is_meta:
            raise SottovoceError(f"'{name}' has no data (device meta), so nothing of it is small; load the weights.")
        if not bool(tensor.isfinite().all()):
            raise SottovoceError(
                f"'{name}' holds NaN or infinite values, which have no rank among weights; give a model without them."
            )
        if flat and tensor.dim() > 2:
            raise SottovoceError(
                f"'{name}' has shape {tuple(tensor.shape)}, but matrices and biases are wanted; prune it unstructured."
            )


def kept_before(tensors: Tensors, before: Tensors | None, revive: bool) -> dict[str, torch.Tensor]:
    """The earlier masks that still bind, on the devices of their tensors."""
    if before is None or revive:
        return {}
    for name, mask in before.items():
        if name not in tensors:
            raise SottovoceError(f"before has a mask of '{name}', but no such weight was given; leave it out.")
        if mask.shape != tensors[name].shape:
            raise SottovoceError(
                f"the mask of '{name}' in before has shape {tuple(mask.shape)}, its weight "
                f"{tuple(tensors[name].shape)}; give one of the weight's shape."
            )
    return {name: mask.to(tensors[name].device).bool() for name, mask in before.items()}


def still_to_drop(wanted: int, kept: Tensors, sparsity: float) -> int:
    """How many weights are still to go; fewer than are gone already cannot be wanted."""
    gone = sum(mask.numel() - int(mask.count_nonzero()) for mask in kept.values())
    if gone > wanted:
        raise SottovoceError(
            f"sparsity={sparsity} drops {wanted} weights, but {gone} are dropped already; "
            "give a higher sparsity, or revive=True."
        )
    return wanted - gone


@dataclass(frozen=True)
class Convergence:
    """When to prune next: a state that each batch's loss leads on, made of plain numbers alone.

    Every `every` steps a pruning is due. If the running mean of the loss fell by more than `drop` in the `look_back`
    steps before, it is postponed by another `every`, as often as needed. The first pruning waits for nothing unless
    `first_waits`, for it begins with a trained model (arXiv 2211.09949). `dataclasses.asdict` gives what JSON can keep,
    `Convergence(**record)` goes on from it.

    Args:
        every: steps from one pruning to the next, or to the next attempt.
        look_back: how many steps earlier the running mean is compared with; fewer than `every`.
        drop: a fall of the running mean by more than this is no convergence.
        factor: the share of the running mean that each batch leaves.
        mean_of: the running mean begins, anew after each pruning, as the plain mean of so many batches.
        first_waits: the first pruning is postponed too while the loss falls.
        step: batches seen in all.
        decided: the step at which a pruning last took place or was postponed.
        batches: batches seen since the running mean began.
        average: the running mean.
        earlier: the running mean `look_back` steps before the next pruning is due, once that step has come.
        prunings: how many took place.
        postponed: how often a pruning was postponed.

    Example:
        >>> state = Convergence(every=2, look_back=1, first_waits=True)
        >>> for loss in (5.0, 4.0, 3.0, 3.5):
        ...     state = state.saw(loss)
        >>> state.postponed, state.ready
        (1, True)
        >>> state.pruned().ready
        False
    """

    every: int = 25_000
    look_back: int = 15_000
    drop: float = 0.001
    factor: float = 0.9998
    mean_of: int = 3
    first_waits: bool = False
    step: int = 0
    decided: int = 0
    batches: int = 0
    average: float = 0.0
    earlier: float | None = None
    prunings: int = 0
    postponed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.look_back < self.every:
            raise SottovoceError(
                f"look_back={self.look_back} with every={self.every}, but the running mean begins anew after each "
                "pruning; look back 1 step or more, and fewer than every."
            )
        if not (0 <= self.factor < 1 and self.mean_of >= 1 and 0 <= self.drop < math.inf):
            raise SottovoceError(
                f"factor={self.factor}, mean_of={self.mean_of}, drop={self.drop}: give a factor from 0 up to, not "
                "including, 1, a mean of 1 or more, a drop of 0 or more."
            )

    @property
    def ready(self) -> bool:
        """Whether to prune now."""
        return self.step - self.decided >= self.every

    @property
    def falling(self) -> bool:
        """Whether the running mean has fallen too much for a pruning."""
        return self.earlier is not None and self.earlier - self.average > self.drop

    def saw(self, loss: float) -> "Convergence":
        """The state after one more batch: ready to prune, or postponed, if a pruning was due."""
        if not math.isfinite(loss):
            raise SottovoceError(f"the loss of step {self.step + 1} is {loss}; lower the learning rate.")
        batches = self.batches + 1
        weight = 1 / batches if batches <= self.mean_of else 1 - self.factor
        average = (1 - weight) * self.average + weight * loss
        state = replace(self, step=self.step + 1, batches=batches, average=average)
        if state.step == self.decided + self.every - self.look_back:
            state = replace(state, earlier=average)
        waits = self.first_waits or self.prunings > 0
        if state.step == self.decided + self.every and waits and state.falling:
            state = replace(state, decided=state.step, earlier=None, postponed=self.postponed + 1)
        return state

    def pruned(self) -> "Convergence":
        """The state after a pruning at this step: the running mean begins anew."""
        return replace(self, decided=self.step, batches=0, average=0.0, earlier=None, prunings=self.prunings + 1)
