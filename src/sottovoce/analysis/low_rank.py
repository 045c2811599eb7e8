"""The nearest matrices of low rank: by the weights alone, or by what they make of the inputs that they really have."""

import heapq
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from sottovoce.errors import SottovoceError

RIDGE = 1e-9  # of the mean eigenvalue: enough to decide among directions that the inputs never showed


@dataclass(frozen=True)
class Decomposed:
    """The singular values of a weight behind its whitening, in float64, and its first left singular vectors.

    The best matrix of rank r is the weight projected onto the first r of them, `left[:, :r] @ left[:, :r].T @ weight`.

    Args:
        values: all of them, from large to small.
        left: (outputs, vectors), orthonormal.

    Example:
        >>> decompose(torch.eye(3)).values
        tensor([1., 1., 1.], dtype=torch.float64)
    """

    values: torch.Tensor
    left: torch.Tensor


def exact(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in float64, on its own device where that can do so.

    Example:
        >>> exact(torch.ones(2)).dtype
        torch.float64
    """
    tensor = tensor.detach()
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch works on the CPU with one thread inside.

    For a single matrix threads mostly wait for each other: with a second one, on a busy machine, five times as long.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@one_thread()
def decompose(weight: torch.Tensor, moment: torch.Tensor | None = None, *, most: int | None = None) -> Decomposed:
    """What is needed to cut a weight (outputs, inputs) to any rank, or to any up to `most`.

    With the moment `X^T X` of the inputs, the cut is the one with the least `||X W^T - X W'^T||` (SVD-LLM's whitening);
    without, the one with the least `||W - W'||`. It goes through an eigendecomposition of the smaller Gram matrix in
    float64, which is both faster and more exact than an SVD in float32.

    Example:
        >>> decompose(torch.diag(torch.tensor([3.0, 4.0])), torch.diag(torch.tensor([4.0, 1.0]))).values
        tensor([6., 4.], dtype=torch.float64)
    """
    matrix = exact(weight)
    outputs, inputs = matrix.shape
    if not bool(matrix.isfinite().all()):
        raise SottovoceError("a weight has NaN or infinite values; check the model with `sottovoce doctor`.")
    if moment is not None:
        moment = exact(moment).to(matrix.device)
        if moment.shape != (inputs, inputs) or not bool(moment.isfinite().all()):
            raise SottovoceError(f"a moment of shape {tuple(moment.shape)}, but finite {inputs} x {inputs} is wanted.")
        mean = float(moment.diagonal().mean())
        moment = moment + RIDGE * (mean if mean > 0 else 1.0) * torch.eye(inputs, dtype=moment.dtype).to(moment.device)
    most = min(outputs, inputs) if most is None else min(most, outputs, inputs)
    if outputs <= inputs:
        squares, vectors = torch.linalg.eigh((matrix if moment is None else matrix @ moment) @ matrix.T)
        left = vectors.flip(1)[:, :most]
    else:
        whitened = matrix if moment is None else matrix @ square_root(moment)
        squares, vectors = torch.linalg.eigh(whitened.T @ whitened)
        # Not divided by the singular values: some may be nothing but rounding.
        left = torch.linalg.qr(whitened @ vectors.flip(1)[:, :most])[0]
    return Decomposed(squares.flip(0).clamp(min=0).sqrt().cpu(), left.contiguous())


def square_root(moment: torch.Tensor) -> torch.Tensor:
    """A square S with `S S^T` equal to the moment: Cholesky's, or of eigenvectors where rounding made it indefinite.

    Example:
        >>> square_root(torch.tensor([[4.0]]))
        tensor([[2.]])
    """
    root, failed = torch.linalg.cholesky_ex(moment)
    if int(failed) == 0:
        return root
    squares, vectors = torch.linalg.eigh(moment)
    return vectors * squares.clamp(min=0).sqrt()


@one_thread()
def pair_of(weight: torch.Tensor, left: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two weights, (rank, inputs) and (outputs, rank), whose product is the weight on the first so many vectors.

    Each inner unit has as large a norm on its way in as on its way out.

    Example:
        >>> first, second = pair_of(weight, decompose(weight).left, 64)
    """
    basis = exact(left[:, :rank])
    first = basis.T @ exact(weight).to(basis.device)
    scale = first.norm(dim=1).sqrt()
    scale = torch.where(scale > 0, scale, 1.0)
    return first / scale[:, None], basis * scale


def most_saving(outputs: int, inputs: int) -> int:
    """The highest rank at which a pair holds fewer numbers than the one matrix; 0 if there is none.

    Example:
        >>> most_saving(768, 768)
        383
    """
    return max(0, (outputs * inputs - 1) // (outputs + inputs)) if outputs and inputs else 0


def saving_ranks(outputs: int, inputs: int, multiple: int = 1) -> range:
    """The multiples among the ranks that save.

    Example:
        >>> list(saving_ranks(20, 30, 4))
        [4, 8]
    """
    return range(multiple, most_saving(outputs, inputs) + 1, multiple)


def rank_for(values: torch.Tensor, energy: float) -> int:
    """The smallest rank that keeps so large a share of the squared singular values.

    Example:
        >>> rank_for(torch.tensor([3.0, 1.0, 0.0]), 0.9)
        1
    """
    kept = values.double().square().cumsum(0)
    return min(len(kept), 1 + int((kept < energy * kept[-1]).sum()))


def joint_ranks(
    values: Sequence[torch.Tensor], shapes: Sequence[tuple[int, int]], budget: int, *, multiple: int = 1
) -> list[int | None]:
    """Ranks for several matrices that together hold at most `budget` numbers; None leaves a matrix whole.

    All begin at the lowest rank. Then, again and again, one matrix is raised, to a higher rank or to being whole: the
    one, and so far, that takes the most error (squared singular values) away for each number added and still fits.
    As long as the best raise fits, no choice of as few numbers has less error; the last few raises fill what is left.

    Example:
        >>> joint_ranks([torch.tensor([9.0, 1.0, 1.0, 1.0]), torch.tensor([5.0, 4.0, 1.0, 1.0])], [(4, 20)] * 2, 72)
        [1, 2]
    """
    options = [list(saving_ranks(*shape, multiple)) for shape in shapes]
    costs, gains = [], []
    for (outputs, inputs), ranks, singular in zip(shapes, options, values, strict=True):
        removed = np.concatenate([[0.0], np.cumsum(np.square(singular.double().cpu().numpy()))])
        costs.append(np.array([rank * (outputs + inputs) for rank in ranks] + [outputs * inputs]))
        gains.append(np.array([removed[rank] for rank in ranks] + [removed[-1]]))
    left = budget - int(sum(cost[0] for cost in costs))
    if left < 0:
        raise SottovoceError(f"a budget of {budget} numbers, but the lowest ranks need {budget - left}; give more.")
    at = [0] * len(costs)
    queue = [entry for index in range(len(costs)) for entry in raises(index, 0, costs[index], gains[index], left)]
    heapq.heapify(queue)
    while queue:
        entry = heapq.heappop(queue)
        _, index, to = entry
        # What was best for this matrix may have stopped to fit: then what is best now goes back into the queue.
        if costs[index][to] - costs[index][at[index]] <= left:
            left -= int(costs[index][to] - costs[index][at[index]])
            at[index] = to
        for entry in raises(index, at[index], costs[index], gains[index], left):
            heapq.heappush(queue, entry)
    return [ranks[place] if place < len(ranks) else None for ranks, place in zip(options, at, strict=True)]


def raises(index: int, at: int, costs: np.ndarray, gains: np.ndarray, left: int) -> list[tuple[float, int, int]]:
    """The best raise of a matrix from where it is that fits, as (minus error per number, matrix, to); or none."""
    more = costs[at + 1 :] - costs[at]
    fits = int(np.searchsorted(more, left, side="right"))
    if not fits:
        return []
    worth = (gains[at + 1 :] - gains[at])[:fits] / more[:fits]
    best = int(np.argmax(worth))
    return [(-float(worth[best]), index, at + 1 + best)]
