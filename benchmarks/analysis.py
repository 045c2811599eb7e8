"""How fast the analyses are beside the straightforward way, in one run and in turns, and how much memory they take.

python benchmarks/analysis.py

Similarity: all pairs of 13 layers, three metrics, batches of 128 utterances of 49 frames of 768 numbers. The plain way
takes each pair by itself, with matrices of its own, as the paper's code does. Graph convexity: layers of 5 000 points
of 35 classes, up to 5 000 pairs a class. The plain way searches from one end of each pair; it is timed on some pairs of
every class, and the number of all says how long they would take.
"""

import resource
import statistics
import sys
import time

import numpy as np
import torch
from lib.records import ratio, record
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from sottovoce.analysis.convexity import graph_convexity, neighbour_graph, sampled
from sottovoce.analysis.similarity import similarities
from sottovoce.timing import in_turns
from sottovoce.training import best_device

NEEDS = {"nothing": ""}
LAYERS, BATCH, FRAMES, WIDTH, K = 13, 128, 49, 768, 8
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


def plain_pair(first: torch.Tensor, second: torch.Tensor) -> tuple[float, float, float]:
    """Cosine, CKA and mutual kNN of two layers, each from their definitions."""
    cosine = torch.nn.functional.cosine_similarity(first, second, dim=1).mean()
    products = []
    for layer in (first, second):
        gram = layer @ layer.T
        gram = gram - gram.mean(0, keepdim=True)
        products.append(gram - gram.mean(1, keepdim=True))
    a, b = products
    cka = (a * b).sum() / (a.norm() * b.norm())
    near = []
    for layer in (first, second):
        gram = layer @ layer.T
        gram.fill_diagonal_(-torch.inf)
        near.append(gram.topk(K, dim=1).indices)
    shared = sum(len(set(x.tolist()) & set(y.tolist())) for x, y in zip(*near, strict=True))
    return float(cosine), float(cka), shared / (K * len(first))


def plain_similarity(layers: list[torch.Tensor]) -> np.ndarray:
    """All pairs, one after the other."""
    found = np.ones((3, LAYERS, LAYERS))
    for i in range(LAYERS):
        for j in range(i, LAYERS):
            found[:, i, j] = found[:, j, i] = plain_pair(layers[i], layers[j])
    return found


def fast_similarity(layers: list[torch.Tensor]) -> np.ndarray:
    """All pairs at once."""
    found = similarities(layers, [K])
    return np.stack([found[name].numpy() for name in ("cosine", "cka", f"knn_{K}")])


def similarity_rows(device: torch.device) -> dict[str, dict[str, float]]:
    """The ratio, whether both agree, and how time grows with the number of utterances."""
    batches = [states(seed, FRAMES * WIDTH, device) for seed in range(2)]
    difference = float(np.abs(plain_similarity(batches[0]) - fast_similarity(batches[0])).max())
    ways = {"plain": lambda: plain_similarity(batches[0]), "fast": lambda: fast_similarity(batches[0])}
    times = in_turns(ways, rounds=5)
    row = {**ratio(times, "plain", "fast"), "largest_difference": difference}
    row["seconds_of_all_batches"] = statistics.median(times["fast"]) * UTTERANCES / BATCH
    grams = 2 * LAYERS * BATCH**2 * FRAMES * WIDTH
    product = torch.randn(2048, 2048, device=device)
    rate = 2 * 2048**3 / statistics.median(in_turns({"product": lambda: product @ product}, rounds=5)["product"])
    row["share_of_matrix_rate"] = grams / statistics.median(times["fast"]) / rate

    def some(count: int) -> float:
        begin = time.perf_counter()
        for number in range(count):
            fast_similarity(batches[number % 2])
        return time.perf_counter() - begin

    growth = [some(8) / some(2) for _ in range(3)]
    return {"similarity": {**row, "time_of_4_times_as_much": statistics.median(growth)}}


def plain_convexity(graph: csr_matrix, classes: np.ndarray, pairs: dict[int, tuple[np.ndarray, np.ndarray]]) -> None:
    """One search a pair."""
    for number, (begins, ends) in pairs.items():
        for begin, end in zip(begins, ends, strict=True):
            before = dijkstra(graph, directed=True, indices=begin, return_predecessors=True)[1]
            here, inside, path = before[end], 0, 0
            while here not in (-9999, begin):
                inside, path, here = inside + (classes[here] == number), path + 1, before[here]


def convexity_rows() -> dict[str, dict[str, float]]:
    """The ratio for layers whose classes lie more and more apart."""
    rng = np.random.default_rng(0)
    classes = np.arange(POINTS) % CLASSES
    centres = rng.standard_normal((CLASSES, WIDTH))
    labels = [str(number) for number in classes]
    ratios, seconds = [], []
    for layer in np.linspace(0, GRAPH_LAYERS - 1, 5).round():
        points = rng.standard_normal((POINTS, WIDTH)) + 0.3 * layer / (GRAPH_LAYERS - 1) * centres[classes]
        begin = time.perf_counter()
        graph = neighbour_graph(points)
        building = time.perf_counter() - begin
        found, _ = graph_convexity(graph, labels, pairs=PAIRS)
        fast = time.perf_counter() - begin
        some = {n: sampled(np.flatnonzero(classes == n), PLAIN_PAIRS, rng) for n in range(CLASSES)}
        begin = time.perf_counter()
        plain_convexity(graph, classes, some)
        plain = (time.perf_counter() - begin) * sum(row.pairs for row in found) / (PLAIN_PAIRS * CLASSES) + building
        ratios.append(plain / fast)
        seconds.append(fast)
    return {
        "graph convexity": {
            "ratio": statistics.median(ratios),
            "low": min(ratios),
            "high": max(ratios),
            "seconds_of_all_layers": statistics.mean(seconds) * GRAPH_LAYERS,
        }
    }


def main() -> None:
    """Both, and the memory of the process at its highest."""
    device = best_device()
    rows = {**similarity_rows(device), **convexity_rows()}
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    rows["memory"] = {"peak_bytes": float(used)}
    record("analysis" + ("" if device.type == "cpu" else f"_{device.type}"), rows, device=device.type)


if __name__ == "__main__":
    main()
