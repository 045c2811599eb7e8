"""How alike the layers of one batch are: cosine, angle, linear CKA, mutual nearest neighbours (arXiv 2409.16302).

A layer is a matrix (samples, numbers). What a sample is (an utterance flattened over time, its mean, a frame) is the
caller's affair. Every layer is read a fixed number of times, whatever the number of pairs: each metric of all pairs
follows from one small matrix a layer. Products are made where the layers are, in their precision; what follows, of
small matrices, on the CPU in double precision.
"""

from collections.abc import Sequence
from typing import Any

import torch
from scipy.linalg import get_blas_funcs

from sottovoce.errors import SottovoceError

TOGETHER = 4  # samples whose cosines are computed at once, few enough for their states to stay near the processor
ROUNDING = 1e-12  # the share of a layer's squares that may be rounding: in single precision it is up to 2e-13
NEIGHBOURS = (2, 4, 8, 16, 32, 64)  # what the paper's code averages its kNN score over


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


def cosines(layers: Sequence[torch.Tensor]) -> torch.Tensor:
    """The cosine of each sample between all pairs of layers: (samples, layers, layers).

    Pairs of layers of different widths have none: NaN there. A sample of zeros has cosine 0 to everything.

    Example:
        >>> cosines([torch.eye(2), -torch.eye(2)])[:, 0, 1]
        tensor([-1., -1.], dtype=torch.float64)
    """
    samples = check_samples(layers)
    found = torch.full((samples, len(layers), len(layers)), torch.nan, dtype=torch.float64)
    for width in dict.fromkeys(layer.shape[1] for layer in layers):
        some = [index for index, layer in enumerate(layers) if layer.shape[1] == width]
        products = sample_products([layers[index] for index in some])
        lengths = products.diagonal(dim1=1, dim2=2).sqrt()
        scale = lengths[:, :, None] * lengths[:, None, :]
        scale = scale.clamp(min=torch.finfo(torch.float64).tiny)  # a sample of zeros has products of zero
        parts = (products / scale).clamp(-1, 1)
        for row, index in enumerate(some):
            found[:, index, some] = parts[:, row]
            found[:, index, index] = torch.where(lengths[:, row] > 0, 1.0, 0.0)
    return found


def sample_products(layers: Sequence[torch.Tensor]) -> torch.Tensor:
    """The inner products of all pairs of layers of one width, for each sample: (samples, layers, layers).

    Example:
        >>> sample_products([torch.ones(1, 3), torch.zeros(1, 3)])[0]
        tensor([[3., 0.],
                [0., 0.]], dtype=torch.float64)
    """
    samples, width = layers[0].shape
    precise = torch.float64 if layers[0].dtype == torch.float64 else torch.float32
    room = torch.empty(TOGETHER, len(layers), width, dtype=precise, device=layers[0].device)
    found = []
    for first in range(0, samples, TOGETHER):
        rows = room[: min(TOGETHER, samples - first)]
        torch.stack([layer[first : first + TOGETHER].to(precise) for layer in layers], dim=1, out=rows)
        found.append(torch.bmm(rows, rows.transpose(1, 2)).cpu().double())
    upper = torch.cat(found).triu()
    return upper + upper.triu(1).transpose(1, 2)  # kernels may round the two halves differently


def grams(layers: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """The inner products of the samples of each layer, centred and as they are: two of (layers, samples, samples).

    The layer is centred before it is multiplied: states share a large mean, and taking it off the products afterwards
    would leave mostly rounding.

    Example:
        >>> [tuple(part.shape) for part in grams([torch.ones(5, 3)])]
        [(1, 5, 5), (1, 5, 5)]
    """
    samples = check_samples(layers)
    centred, plain = (torch.empty(len(layers), samples, samples, dtype=torch.float64) for _ in range(2))
    room: dict[tuple[int, torch.dtype], torch.Tensor] = {}  # fresh memory for each layer would take longer to get
    for index, layer in enumerate(layers):
        mean = layer.mean(0)
        kind = (layer.shape[1], layer.dtype)
        rest = room[kind] = torch.sub(layer, mean, out=room.get(kind))
        centred[index] = products_of(rest)
        along = (rest @ mean).cpu().double()
        plain[index] = centred[index] + along[:, None] + along[None, :] + mean.cpu().double().square().sum()
    return centred, plain


def products_of(rows: torch.Tensor) -> torch.Tensor:
    """The inner products of all rows, in double precision, of which each was computed once.

    Example:
        >>> products_of(torch.tensor([[1.0, 2.0], [0.0, 1.0]]))
        tensor([[5., 2.],
                [2., 1.]], dtype=torch.float64)
    """
    rows = (rows if rows.dtype == torch.float64 else rows.float()).detach()
    if rows.device.type == "cpu" and torch.get_num_threads() == 1:
        # A symmetric product is half of the work, but torch has none. That of scipy is of another library, whose
        # threads and torch's would take the processor from each other, so it is for one thread only. A transposed view
        # is what Fortran takes for a matrix.
        product: Any = get_blas_funcs("syrk", [rows.numpy()])
        upper = torch.from_numpy(product(1.0, rows.numpy().T, trans=1))
    else:
        first = len(rows) // 2 if len(rows) >= 64 else len(rows)  # a quarter less work, where that is much
        upper = torch.zeros(len(rows), len(rows), dtype=rows.dtype, device=rows.device)
        upper[:first] = rows[:first] @ rows.T
        upper[first:, first:] = rows[first:] @ rows[first:].T
    upper = upper.cpu().double()
    return upper.triu() + upper.triu(1).T


def cka(centred: torch.Tensor) -> torch.Tensor:
    """Linear CKA, the biased estimator of the paper, from centred products: (layers, layers).

    Example:
        >>> cka(grams([torch.randn(9, 4)] * 2)[0])[0, 1]
        tensor(1.0000, dtype=torch.float64)
    """
    return normalised(inner(centred))


def inner(products: torch.Tensor) -> torch.Tensor:
    """The sum of the products of all entries, of all pairs of matrices.

    Example:
        >>> inner(torch.ones(2, 3, 3))
        tensor([[9., 9.],
                [9., 9.]])
    """
    flat = products.flatten(1)
    return flat @ flat.T


def unbiased(products: torch.Tensor) -> torch.Tensor:
    """The unbiased estimator of HSIC (Song et al. 2012) of all pairs: its means over batches make an unbiased CKA.

    Example:
        >>> unbiased(grams([torch.randn(9, 4)])[0]).shape
        torch.Size([1, 1])
    """
    samples = products.shape[1]
    if samples < 4:
        raise SottovoceError(f"{samples} samples in a batch, but the unbiased estimator needs at least 4.")
    off = products - torch.diag_embed(products.diagonal(dim1=1, dim2=2))
    rows = off.sum(2)
    total = rows.sum(1)
    part = inner(off) + total[:, None] * total[None, :] / ((samples - 1) * (samples - 2))
    return (part - 2 / (samples - 2) * (rows @ rows.T)) / (samples * (samples - 3))


def normalised(products: torch.Tensor) -> torch.Tensor:
    """Products of pairs over the geometric mean of the two with themselves.

    Example:
        >>> normalised(torch.tensor([[4.0, 2.0], [2.0, 1.0]]))
        tensor([[1., 1.],
                [1., 1.]])
    """
    own = products.diagonal().sqrt()
    return (products / own[:, None] / own[None, :]).fill_diagonal_(1.0)


def ranked(plain: torch.Tensor) -> torch.Tensor:
    """The other samples by inner product, the largest first; of equal ones those of lower number come first.

    Example:
        >>> ranked(torch.eye(3)[None])[0, 0].tolist()
        [1, 2]
    """
    others = plain - torch.diag(torch.full((plain.shape[1],), torch.inf, dtype=plain.dtype))
    return others.sort(dim=2, descending=True, stable=True).indices[:, :, :-1]


def neighbours(order: torch.Tensor, k: int) -> torch.Tensor:
    """Which samples are the first k in `ranked` order: (layers, samples, samples) of zeros and ones.

    Example:
        >>> neighbours(ranked(torch.eye(4)[None]), 2)[0, 0]
        tensor([0., 1., 1., 0.])
    """
    samples = order.shape[1]
    if not 1 <= k < samples:
        raise SottovoceError(f"k={k} neighbours among {samples} samples, but 1 to {samples - 1} are there.")
    return torch.zeros(len(order), samples, samples).scatter_(2, order[:, :, :k], 1.0)


def shared(members: torch.Tensor, k: int) -> torch.Tensor:
    """Mutual kNN alignment: the share of neighbours that two layers have in common, of all pairs.

    Example:
        >>> shared(neighbours(ranked(torch.eye(4).expand(2, 4, 4)), 2), 2)[0, 1]
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
    layers: Sequence[torch.Tensor], ks: Sequence[int] = NEIGHBOURS, *, names: Sequence[object] | None = None
) -> dict[str, torch.Tensor]:
    """Everything about the layers of one batch, as means over its samples, which add up over batches.

    `cosine`, `angle` (over pi), `cka`, `hsic` (whose mean over batches `normalised` makes an unbiased CKA of) and
    `knn_K` for every K that is smaller than the batch.

    Example:
        >>> sorted(similarities([torch.randn(9, 4), torch.randn(9, 3)], ks=[2, 8]))
        ['angle', 'cka', 'cosine', 'hsic', 'knn_2', 'knn_8']
    """
    centred, plain = grams(layers)
    if not bool(plain.isfinite().all()):
        refuse_nan(layers, names or range(len(layers)))
    sizes = [part.diagonal(dim1=1, dim2=2).sum(1) for part in (centred, plain)]
    constant = (sizes[0] <= ROUNDING * sizes[1]).nonzero().flatten().tolist()
    if constant:
        name = names[constant[0]] if names is not None else constant[0]
        raise SottovoceError(
            f"layer {name} is the same for all {len(layers[0])} samples of a batch, so nothing can be said about what "
            "it has in common with others; check the model with `sottovoce doctor`, or give other speech."
        )
    each = cosines(layers)
    found = {"cosine": each.mean(0), "angle": (each.arccos() / torch.pi).mean(0), "cka": cka(centred)}
    if len(layers[0]) >= 4:
        found["hsic"] = unbiased(centred)  # what centring adds to a row or a column, this estimator takes out
    order = ranked(plain)
    for k in ks:
        if k < len(layers[0]):
            found[f"knn_{k}"] = shared(neighbours(order, k), k)
    return found
