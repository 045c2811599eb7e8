"""How alike the layers of one batch are: cosine, angle, linear CKA, mutual nearest neighbours (arXiv 2409.16302).

A layer is a matrix (samples, numbers). What a sample is (an utterance flattened over time, its mean, a frame) is the
caller's affair. Every layer is read once, whatever the number of pairs: each metric of all pairs follows from one small
matrix a layer, and one a sample. Products are made where the layers are, in their precision, at least single; what
follows, of small matrices, on the CPU in double precision.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from sottovoce.errors import SottovoceError

COLUMNS = 512  # of all layers at once, few enough to stay near the processor
ROUNDING = 1e-12  # the share of a layer's squares that may be rounding: in single precision it is up to 2e-13
NEIGHBORS = (2, 4, 8, 16, 32, 64)  # what the paper's code averages its kNN score over


def refuse_nan(layers: Sequence[torch.Tensor], names: Sequence[object]) -> None:
    """Stop at a layer with numbers that are none, and name it.

    Example:
        >>> refuse_nan([torch.zeros(2, 3)], [4])
    """
    for layer, name in zip(layers, names, strict=True):
        if not bool(layer.isfinite().all()):
            raise SottovoceError(
                f"layer {name} has NaN or infinite states; check the model's weights with `sottovoce doctor`."
            )


@dataclass(frozen=True)
class Products:
    """The inner products of a batch.

    Args:
        across: of all pairs of layers, for each sample (samples, layers, layers); NaN between different widths.
        centred, plain: of all pairs of samples, for each layer (layers, samples, samples), less the mean or not.

    Example:
        >>> products([torch.ones(5, 3)] * 2).across.shape
        torch.Size([5, 2, 2])
    """

    across: torch.Tensor
    centered: torch.Tensor
    plain: torch.Tensor


def products(layers: Sequence[torch.Tensor]) -> Products:
    """All inner products that any metric needs, in one pass over the layers.

    Example:
        >>> products([torch.eye(2)]).plain[0]
        tensor([[1., 0.],
                [0., 1.]], dtype=torch.float64)
    """
    samples, count = check_samples(layers), len(layers)
    across = torch.full((samples, count, count), torch.nan, dtype=torch.float64)
    centered, plain = (torch.empty(count, samples, samples, dtype=torch.float64) for _ in range(2))
    for width in dict.fromkeys(layer.shape[1] for layer in layers):
        numbers = [index for index, layer in enumerate(layers) if layer.shape[1] == width]
        some = torch.tensor(numbers)
        across[:, some[:, None], some], joint = products_of([layers[number] for number in numbers])
        rest, along = joint[:, :-1, :-1], joint[:, :-1, -1]
        centered[some] = rest
        plain[some] = rest + along[:, :, None] + along[:, None, :] + joint[:, -1:, -1:]
    return Products(across, centered, plain)


def products_of(layers: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Of layers of one width: the products across layers, and those of the centred samples with the mean as the last.

    A part of the columns of all layers is copied to where the processor has it at hand, and everything is made of that:
    the states are read from memory once. Samples are centred before they are multiplied: states share a large mean, and
    taking it off the products afterwards would leave mostly rounding.
    """
    samples, width = layers[0].shape
    count, device = len(layers), layers[0].device
    precise = torch.float64 if any(layer.dtype == torch.float64 for layer in layers) else torch.float32
    columns = min(width, COLUMNS if device.type == "cpu" else 32 * COLUMNS)
    padded = count if count <= 8 else -(-count // 16) * 16  # kernels take 16 rows together: 13 take longer
    room = torch.zeros(padded, samples + 1, columns, dtype=precise, device=device)
    across = torch.zeros(samples, padded, padded, dtype=torch.float64)
    joint = torch.zeros(count, samples + 1, samples + 1, dtype=torch.float64)
    upper = torch.zeros(joint.shape, dtype=precise, device=device)
    for first in range(0, width, columns):
        part = room[:, :, : min(columns, width - first)]
        rows, mean = part[:, :samples], part[:, samples]
        for index, layer in enumerate(layers):
            rows[index] = layer[:, first : first + columns].detach()
        each = rows.transpose(0, 1)
        across += torch.bmm(each, each.mT).cpu()
        torch.mean(rows, 1, out=mean)
        rows -= mean[:, None]
        joint += upper_products(part[:count], upper).cpu()
    # Kernels may round the two halves differently.
    joint, across = joint.triu(), across[:, :count, :count].triu()
    return across + across.triu(1).mT, joint + joint.triu(1).mT


def upper_products(layers: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """The inner products of all rows of each matrix, at least those above the diagonal, written to `out`.

    Example:
        >>> upper_products(torch.tensor([[[1.0, 2.0], [0.0, 1.0]]]), torch.zeros(1, 2, 2))[0].triu()
        tensor([[5., 2.],
                [0., 1.]])
    """
    if layers.device.type == "cpu" and torch.get_num_threads() == 1:
        # A symmetric product is half of the work; NumPy makes one of this form, torch has none. NumPy's threads and
        # torch's would take the processor from each other, so it is for one thread only.
        for rows, products in zip(layers.numpy(), out.numpy(), strict=True):
            np.matmul(rows, rows.T, out=products)
        return out
    half = layers.shape[1] // 2  # a quarter less work
    out[:, :half] = torch.bmm(layers[:, :half], layers.mT)
    out[:, half:, half:] = torch.bmm(layers[:, half:], layers[:, half:].mT)
    return out


def cosines(across: torch.Tensor) -> torch.Tensor:
    """The cosine of each sample between all pairs of layers, from their products: (samples, layers, layers).

    Pairs of layers of different widths have none: NaN there. A sample of zeros has cosine 0 to everything.

    Example:
        >>> cosines(products([torch.eye(2), -torch.eye(2)]).across)[:, 0, 1]
        tensor([-1., -1.], dtype=torch.float64)
    """
    lengths = across.diagonal(dim1=1, dim2=2).sqrt()
    scale = lengths[:, :, None] * lengths[:, None, :]
    scale = scale.clamp(min=torch.finfo(torch.float64).tiny)  # a sample of zeros has products of zero
    found = (across / scale).clamp(-1, 1)
    found.diagonal(dim1=1, dim2=2).copy_(lengths > 0)
    return found


def cka(centered: torch.Tensor) -> torch.Tensor:
    """Linear CKA, the biased estimator of the paper, from centred products: (layers, layers).

    Example:
        >>> cka(products([torch.randn(9, 4)] * 2).centered)[0, 1]
        tensor(1.0000, dtype=torch.float64)
    """
    return normalized(inner(centered))


def inner(matrices: torch.Tensor) -> torch.Tensor:
    """The sum of the products of all entries, of all pairs of matrices.

    Example:
        >>> inner(torch.ones(2, 3, 3))
        tensor([[9., 9.],
                [9., 9.]])
    """
    flat = matrices.flatten(1)
    return flat @ flat.T


def unbiased(centered: torch.Tensor) -> torch.Tensor:
    """The unbiased estimator of HSIC (Song et al. 2012) of all pairs: its means over batches make an unbiased CKA.

    Example:
        >>> unbiased(products([torch.randn(9, 4)]).centered).shape
        torch.Size([1, 1])
    """
    samples = centered.shape[1]
    if samples < 4:
        raise SottovoceError(f"{samples} samples in a batch, but the unbiased estimator needs at least 4.")
    off = centered - torch.diag_embed(centered.diagonal(dim1=1, dim2=2))
    rows = off.sum(2)
    total = rows.sum(1)
    part = inner(off) + total[:, None] * total[None, :] / ((samples - 1) * (samples - 2))
    return (part - 2 / (samples - 2) * (rows @ rows.T)) / (samples * (samples - 3))


def normalized(pairs: torch.Tensor) -> torch.Tensor:
    """Products of pairs over the geometric mean of the two with themselves.

    Example:
        >>> normalized(torch.tensor([[4.0, 2.0], [2.0, 1.0]]))
        tensor([[1., 1.],
                [1., 1.]])
    """
    own = pairs.diagonal().sqrt()
    return (pairs / own[:, None] / own[None, :]).fill_diagonal_(1.0)


def ranked(plain: torch.Tensor) -> torch.Tensor:
    """The other samples by inner product, the largest first; of equal ones those of lower number come first.

    Example:
        >>> ranked(torch.eye(3)[None])[0, 0].tolist()
        [1, 2]
    """
    others = plain - torch.diag(torch.full((plain.shape[1],), torch.inf, dtype=plain.dtype))
    return others.sort(dim=2, descending=True, stable=True).indices[:, :, :-1]


def neighbors(order: torch.Tensor, k: int) -> torch.Tensor:
    """Which samples are the first k in `ranked` order: (layers, samples, samples) of zeros and ones.

    Example:
        >>> neighbors(ranked(torch.eye(4)[None]), 2)[0, 0]
        tensor([0., 1., 1., 0.])
    """
    samples = order.shape[1]
    if not 1 <= k < samples:
        raise SottovoceError(f"k={k} neighbours among {samples} samples, but 1 to {samples - 1} are there.")
    return torch.zeros(len(order), samples, samples).scatter_(2, order[:, :, :k], 1.0)


def shared(members: torch.Tensor, k: int) -> torch.Tensor:
    """Mutual kNN alignment: the share of neighbours that two layers have in common, of all pairs.

    Example:
        >>> shared(neighbors(ranked(torch.eye(4).expand(2, 4, 4)), 2), 2)[0, 1]
        tensor(1., dtype=torch.float64)
    """
    return inner(members).double() / (members.shape[1] * k)


def check_samples(layers: Sequence[torch.Tensor]) -> int:
    """The number of samples, which all layers must share.

    Example:
        >>> check_samples([torch.zeros(5, 3), torch.zeros(5, 2)])
        5
    """
    shapes = {tuple(layer.shape) for layer in layers}
    if not layers or any(len(shape) != 2 for shape in shapes) or len({shape[0] for shape in shapes}) != 1:
        raise SottovoceError(f"layers of shapes {sorted(shapes)}, but matrices of the same number of rows are wanted.")
    return len(layers[0])


def similarities(
    layers: Sequence[torch.Tensor], ks: Sequence[int] = NEIGHBORS, *, names: Sequence[object] | None = None
) -> dict[str, torch.Tensor]:
    """Everything about the layers of one batch, as means over its samples, which add up over batches.

    `cosine`, `angle` (over pi), `cka`, `hsic` (whose mean over batches `normalized` makes an unbiased CKA of) and
    `knn_K` for every K that is smaller than the batch.

    Example:
        >>> sorted(similarities([torch.randn(9, 4), torch.randn(9, 3)], ks=[2, 8]))
        ['angle', 'cka', 'cosine', 'hsic', 'knn_2', 'knn_8']
    """
    made = products(layers)
    centered, plain = made.centered, made.plain
    if not bool(plain.isfinite().all()):
        refuse_nan(layers, names or range(len(layers)))
    sizes = [part.diagonal(dim1=1, dim2=2).sum(1) for part in (centered, plain)]
    constant = (sizes[0] <= ROUNDING * sizes[1]).nonzero().flatten().tolist()
    if constant:
        name = names[constant[0]] if names is not None else constant[0]
        raise SottovoceError(
            f"layer {name} is the same for all {len(layers[0])} samples of a batch, so nothing can be said about what "
            "it has in common with others; check the model with `sottovoce doctor`, or give other speech."
        )
    each = cosines(made.across)
    found = {"cosine": each.mean(0), "angle": (each.arccos() / torch.pi).mean(0), "cka": cka(centered)}
    if len(layers[0]) >= 4:
        found["hsic"] = unbiased(centered)  # what centring adds to a row or a column, this estimator takes out
    order = ranked(plain)
    for k in ks:
        if k < len(layers[0]):
            found[f"knn_{k}"] = shared(neighbors(order, k), k)
    return found
