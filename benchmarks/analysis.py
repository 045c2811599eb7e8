"""How fast the analyses are beside the algorithms of the papers' code, in one run and in turns, and their memory.

The algorithms are written here anew, from what the released code does. Similarity: all pairs of 13 layers, batches of
128 utterances of 49 frames of 768 numbers. Paper 1 makes the products of both layers anew for each pair, each metric
and each k, and sorts them whole; its cosine goes utterance by utterance. Graph convexity: layers of 5 000 points of 35
classes, up to 5 000 pairs a class. The first repository of paper 2 searches from one end of each pair (timed on some
pairs of every class, and scaled by the number of all); the second searches once from every point and then follows each
pair's path. The second also makes its graph from a matrix of all pairs of points, of neighbors that our search finds
for it: its own are approximate, by a library that is not in use here.

What similarity cannot do without, for n samples of d numbers in l layers: each number is read once, l n d of 4 bytes
(250 MB); products of samples in a layer, l n (n + 1) / 2, and of layers in a sample, n l (l + 1) / 2, of d
multiplications and additions each (9.0 G operations). Paper 1 at one k makes 2 n n products for each of l (l + 1) / 2
pairs for neighbors and, as its CKA makes symmetric ones, n (n + 1) for each of l (l - 1) / 2: 321 G, 36 times as many.
That ratio, and what its sorting takes besides, is what can be won where both multiply equally fast.
"""

import resource
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from lib.records import ratio, record
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from sottovoce.analysis.convexity import graph_convexity, nearest_points, neighbor_graph, sampled
from sottovoce.analysis.similarity import similarities
from sottovoce.timing import in_turns
from sottovoce.training import best_device

NEEDS = {"nothing": ""}
LAYERS, BATCH, FRAMES, WIDTH, K = 13, 128, 49, 768, 8
KS = (1, 2, 4, 8, 16, 32, 64)  # the powers of two below a batch
ROUNDS = 5
UTTERANCES = 1024
POINTS, CLASSES, GRAPH_LAYERS, PAIRS = 5000, 35, 25, 5000
PLAIN_PAIRS = 8  # a class, timed


def states(seed: int, width: int, device: torch.device) -> list[torch.Tensor]:
    """Layers of a batch that change slowly from one to the next, as a model's do."""
    generator = torch.Generator().manual_seed(seed)
    layers = [torch.randn(BATCH, width, generator=generator)]
    for _ in range(LAYERS - 1):
        layers.append(0.9 * layers[-1] + 0.4 * torch.randn(BATCH, width, generator=generator))
    return [layer.to(device) for layer in layers]


def near(layer: torch.Tensor, k: int) -> torch.Tensor:
    """Ones at the k samples of largest product with each."""
    products = (layer @ layer.T).fill_diagonal_(-torch.inf)
    order = products.argsort(dim=1, descending=True)[:, :k]
    return torch.zeros_like(products).scatter_(1, order, 1.0)


def centered_products(layer: np.ndarray) -> np.ndarray:
    """Products less their means, after a look at whether they are symmetric."""
    products = layer @ layer.T
    assert np.allclose(products, products.T)
    means = products.mean(0, dtype=np.float64)
    return products - means[:, None] - means[None, :] + means.mean()


def paper_cosines(layers: list[torch.Tensor]) -> torch.Tensor:
    """One utterance after the other, scaled to length 1."""
    total = torch.zeros(LAYERS, LAYERS)
    for rows in torch.stack(layers).permute(1, 0, 2):
        unit = torch.nn.functional.normalize(rows, dim=1)
        total += (unit @ unit.T).cpu()
    return total / BATCH


def paper_cka(layers: list[torch.Tensor]) -> np.ndarray:
    """Pair by pair, the products of both made for each."""
    found = np.eye(LAYERS)
    for i in range(LAYERS):
        for j in range(i + 1, LAYERS):
            a, b = (centered_products(layers[index].cpu().numpy()) for index in (i, j))
            found[i, j] = found[j, i] = (a * b).sum() / (np.linalg.norm(a) * np.linalg.norm(b))
    return found


def paper_similarity(layers: list[torch.Tensor], ks: Sequence[int]) -> np.ndarray:
    """Cosine, CKA, and mutual neighbors for each k: pair by pair, the products of both made for each."""
    knn = np.ones((len(ks), LAYERS, LAYERS))
    for number, k in enumerate(ks):
        for i in range(LAYERS):
            for j in range(i, LAYERS):
                both = near(layers[i], k) * near(layers[j], k)
                knn[number, i, j] = knn[number, j, i] = float((both.sum(1) / k).mean())
    return np.stack([paper_cosines(layers).numpy(), paper_cka(layers), *knn])


def fast_similarity(layers: list[torch.Tensor], ks: Sequence[int]) -> np.ndarray:
    """All pairs at once."""
    found = similarities(layers, ks)
    return np.stack([found[name].numpy() for name in ("cosine", "cka", *(f"knn_{k}" for k in ks))])


def similarity_rows(device: torch.device) -> dict[str, dict[str, Any]]:
    """The ratios, how far both agree, and how time grows with the number of utterances."""
    batches = [states(seed, FRAMES * WIDTH, device) for seed in range(2)]
    rows: dict[str, dict[str, Any]] = {}
    for name, ks, rounds in (("similarity, k = 8", (K,), ROUNDS), ("similarity, seven ks", KS, 3)):
        ways = {
            "paper": lambda ks=ks: paper_similarity(batches[0], ks),
            "ours": lambda ks=ks: fast_similarity(batches[0], ks),
        }
        difference = float(np.abs(ways["paper"]() - ways["ours"]()).max())
        times = in_turns(ways, rounds=rounds, warm_up=0)
        rows[name] = {
            **ratio(times, "paper", "ours"),
            "timed": f"paper 1's way over ours, cosine, CKA and mutual neighbors for k of {list(ks)}, one batch",
            "largest_difference": difference,
            "seconds_of_all": statistics.median(times["ours"]) * UTTERANCES / BATCH,
        }
    seconds = rows["similarity, k = 8"]["ours_median_s"]
    product = torch.randn(2048, 2048, device=device)
    rate = 2 * 2048**3 / statistics.median(in_turns({"product": lambda: product @ product}, rounds=5)["product"])
    number = FRAMES * WIDTH
    needed = number * (LAYERS * BATCH * (BATCH + 1) + BATCH * LAYERS * (LAYERS + 1))
    paper = number * (LAYERS * (LAYERS + 1) * 2 * BATCH**2 + LAYERS * (LAYERS - 1) * BATCH * (BATCH + 1))

    def some(count: int) -> float:
        begin = time.perf_counter()
        for batch in range(count):
            fast_similarity(batches[batch % 2], (K,))
        return time.perf_counter() - begin

    rows["similarity, k = 8"] |= {
        "operations": needed,
        "operations_of_paper": paper,
        "bytes": 4 * number * LAYERS * BATCH,
        "share_of_matrix_rate": needed / seconds / rate,
        "time_of_4_times_as_much": statistics.median(some(8) / some(2) for _ in range(3)),
    }
    return rows


def score(path: list[int], members: list[int]) -> float:
    """The share of a path's inner vertices that are of a class."""
    inner = path[1:-1]
    return sum(vertex in members for vertex in inner) / len(inner) if inner else 1.0


def path_of(before: np.ndarray, begin: int, end: int) -> list[int]:
    """The vertices of a path, from what stands before each."""
    path = [end]
    while path[-1] != begin and before[path[-1]] != -9999:
        path.append(int(before[path[-1]]))
    return path[::-1] if path[-1] == begin else []


Pairs = dict[int, tuple[np.ndarray, np.ndarray]]


def first_repository(graph: csr_matrix, classes: np.ndarray, pairs: Pairs) -> list[float]:
    """One search a pair."""
    scores = []
    for number, ends in pairs.items():
        members = np.flatnonzero(classes == number).tolist()
        for begin, end in zip(*ends, strict=True):
            before = dijkstra(graph, directed=True, indices=begin, return_predecessors=True)[1]
            path = path_of(before, begin, end)
            scores.append(score(path, members) if path else 0.0)
    return scores


def second_graph(points: np.ndarray) -> csr_matrix:
    """Through a matrix of all pairs of points."""
    nearest, lengths = nearest_points(points, 10)
    dense = np.zeros((len(points), len(points)))
    np.put_along_axis(dense, nearest, lengths, axis=1)
    return csr_matrix(np.maximum(dense, dense.T))


def second_repository(graph: csr_matrix, classes: np.ndarray, pairs: Pairs) -> list[float]:
    """One search of everything; then pair by pair."""
    lengths, before = dijkstra(graph, directed=True, return_predecessors=True)
    scores = []
    for number, ends in pairs.items():
        members = np.flatnonzero(classes == number).tolist()
        for begin, end in zip(*ends, strict=True):
            there = np.isfinite(lengths[begin, end])
            scores.append(score(path_of(before[begin], begin, end), members) if there else 0.0)
    return scores


def convexity_rows() -> dict[str, dict[str, Any]]:
    """The ratios for layers whose classes lie more and more apart, each layer timed in turns."""
    rng = np.random.default_rng(0)
    classes = np.arange(POINTS) % CLASSES
    centers = rng.standard_normal((CLASSES, WIDTH))
    labels = [str(number).zfill(2) for number in classes]  # in the order of the numbers, as the pairs are
    times: dict[str, list[float]] = {name: [] for name in ("first", "second", "ours", "graph", "second_paths", "paths")}
    difference = 0.0
    for number, layer in enumerate(np.linspace(0, GRAPH_LAYERS - 1, 5).round()):
        points = rng.standard_normal((POINTS, WIDTH)) + 0.3 * layer / (GRAPH_LAYERS - 1) * centers[classes]
        graph, drawn = neighbor_graph(points), np.random.default_rng(0)
        pairs = {n: sampled(np.flatnonzero(classes == n), PAIRS, drawn) for n in range(CLASSES)}
        some = {n: tuple(part[:PLAIN_PAIRS] for part in ends) for n, ends in pairs.items()}
        scaled = sum(len(begins) for begins, _ in pairs.values()) / (PLAIN_PAIRS * CLASSES)
        scores: dict[str, np.ndarray] = {}

        def kept(name: str, values: Any, scores: dict[str, np.ndarray] = scores) -> None:
            scores[name] = np.array(values)

        ways = {
            "first": lambda graph=graph, some=some: first_repository(graph, classes, some),
            "graph": lambda points=points: neighbor_graph(points),
            "second_graph": lambda points=points: second_graph(points),
            "second": lambda graph=graph, pairs=pairs: kept("second", second_repository(graph, classes, pairs)),
            "ours": lambda graph=graph: kept("ours", graph_convexity(graph, labels, pairs=PAIRS)[1]),
        }
        taken = in_turns(ways, rounds=1 + number % 2, warm_up=0)
        for first, building, matrix, second, ours in zip(*(taken[name] for name in ways), strict=True):
            found = (first * scaled + building, second + matrix, ours + building, building, second, ours)
            for name, value in zip(times, found, strict=True):
                times[name].append(value)
        difference = max(difference, float(np.abs(scores["second"] - scores["ours"]).max()))
    seconds = statistics.mean(times["ours"]) * GRAPH_LAYERS
    about = {
        "first": ("graph convexity, one search a pair", "ours", "points to scores, our graph in both"),
        "second": ("graph convexity, one search of all", "ours", "points to scores, each with its graph"),
        "second_paths": ("graph convexity, one search of all, without the graph", "paths", "graph to scores"),
    }
    return {
        name: {
            **ratio(times, way, over),
            "timed": timed,
            "largest_difference": difference,
            "seconds_of_all": seconds if over == "ours" else statistics.mean(times[over]) * GRAPH_LAYERS,
            "graph_median_s": statistics.median(times["graph"]),
        }
        for way, (name, over, timed) in about.items()
    }


def main() -> None:
    """Both, and the memory of the process at its highest."""
    device = best_device()
    rows: dict[str, Any] = {**similarity_rows(device), **convexity_rows()}
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    rows["memory"] = {"peak_bytes": float(used)}
    record(
        "analysis" + ("" if device.type == "cpu" else f"_{device.type}"),
        rows,
        command="OMP_NUM_THREADS=1 python benchmarks/analysis.py",
        device=device.type,
    )


if __name__ == "__main__":
    main()
