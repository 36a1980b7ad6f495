"""One sample of one contender: make the data, run it once warm, print seconds, values and memory as JSON."""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import sys
import time
import types

import numpy as np
import torch

MODELS = 2  # experimental models against one control


def representations(n: int, layers: int, d: int, seed: int = 0) -> list[torch.Tensor]:
    """Return the control and two models, [n, L, d] float32, three dimensions of each layer 100 to 1000 times larger."""
    random = torch.Generator().manual_seed(seed)
    scales = torch.exp(0.5 * torch.randn(layers, d, generator=random))
    for layer in range(layers):
        scales[layer, torch.randperm(d, generator=random)[:3]] *= torch.tensor([100.0, 300.0, 1000.0])
    offset = 5 * torch.randn(layers, d, generator=random)
    shared = torch.randn(n, layers, d, generator=random)
    return [
        (shared + strength * torch.randn(n, layers, d, generator=random) + offset) * scales
        for strength in (0.5, 1.5, 0.7)
    ]


def pairs(sides: list[torch.Tensor]):
    """Yield (layer, model, its representations, the control's), the way tools for one pair are used."""
    control, *others = sides
    for layer in range(control.shape[1]):
        for model, other in enumerate(others):
            yield layer, model, other[:, layer], control[:, layer]


def authors(sides):
    """Plain linear CKA in feature space in float64, one pair and layer at a time."""
    found = {}
    for layer, model, Y, Z in pairs(sides):
        Y, Z = (X.double() - X.double().mean(0) for X in (Y, Z))
        norms = torch.linalg.norm(Y.T @ Y) * torch.linalg.norm(Z.T @ Z)
        found[f"plain {layer} {model}"] = float(torch.linalg.norm(Y.T @ Z) ** 2 / norms)
    return found


def reference(sides):
    """Plain and debiased CKA in float64, n x n."""
    found = {}
    for layer, model, Y, Z in pairs(sides):
        K, L = ((X - X.mean(0)) @ (X - X.mean(0)).T for X in (Y.double(), Z.double()))
        found[f"plain {layer} {model}"] = float((K * L).sum() / (K.norm() * L.norm()))
        n, k, l = len(K), K.diagonal(), L.diagonal()

        def hsic(A, B, a, b, n=n):
            return (A * B).sum() - n / (n - 2) * a @ b + a.sum() * b.sum() / ((n - 1) * (n - 2))

        ratio = hsic(K, L, k, l) / (hsic(K, K, k, k) * hsic(L, L, l, l)).sqrt()
        found[f"debiased {layer} {model}"] = float(ratio)
    return found


def ours(sides):
    """Plain and debiased CKA with standard errors and paired differences, in one pass."""
    from mossa.similarity import compare

    control, *others = sides
    rows = compare({str(model): X for model, X in enumerate(others)}, control, baseline="0").similarity
    kind = {"cka-linear": "plain", "cka-linear-debiased": "debiased"}
    return {f"{kind[row['estimator']]} {row['layer'] - 1} {row['model']}": row["value"] for row in rows}


def netrep(sides):
    score = importlib.import_module("netrep.metrics.cka").LinearCKA().score
    return {f"plain {l} {m}": float(np.cos(score(Y.numpy(), Z.numpy()))) for l, m, Y, Z in pairs(sides)}


def anatome(sides):
    if "torchvision" not in sys.modules:  # needed by parts that are not used here
        stub = types.ModuleType("torchvision.models.feature_extraction")
        stub.get_graph_node_names = stub.create_feature_extractor = None
        for name in ("torchvision", "torchvision.models"):
            sys.modules[name] = types.ModuleType(name)
        sys.modules[stub.__name__] = stub
    distance = importlib.import_module("anatome.distance").linear_cka_distance
    found = {}
    for layer, model, Y, Z in pairs(sides):
        found[f"plain {layer} {model}"] = 1 - float(distance(Y, Z, False))
    return found


def resi(sides):
    score = importlib.import_module("repsim.measures.cka").centered_kernel_alignment
    return {f"plain {l} {m}": float(score(Y, Z, "nd")) for l, m, Y, Z in pairs(sides)}


def pytorch_cka(sides):
    score = importlib.import_module("cka").cka_from_features
    return {f"debiased {l} {m}": float(score([Y], [Z])[0, 0]) for l, m, Y, Z in pairs(sides)}


def ckatorch(sides):
    core = importlib.import_module("ckatorch.core")
    return {f"plain {l} {m}": float(core.cka_base(Y, Z)) for l, m, Y, Z in pairs(sides)}


def limit(sides):
    """The fewest multiplications for the values alone, as general matrix products at full speed."""
    n, layers, d = sides[0].shape
    X, Y = (side[:, 0].contiguous() for side in sides[:2])
    prompts = (1 + MODELS) * n < (1 + 3 * MODELS) * d
    for _ in range(layers):  # a symmetric product is half a general one
        for _ in range((1 + MODELS) if prompts else (1 + 3 * MODELS)):
            half = (X if prompts else X.T)[: (n if prompts else d) // 2]
            half @ (Y.T if prompts else Y)
    return {}


def layer_map(sides):
    from mossa.similarity import layer_map

    layer_map(sides[0], sides[1], debiased=True)
    return {}


def layer_products(sides):
    """The symmetric products that a layer map needs, and nothing else."""
    from mossa.similarity.products import self_product

    for side in sides[:2]:
        for layer in range(side.shape[1]):
            self_product(side[:, layer].contiguous())
    return {}


def permutations(sides):
    from mossa.similarity import permutation_test

    permutation_test(sides[1][:, 0], sides[0][:, 0], permutations=1000)
    return {}


CONTENDERS = [authors, reference, ours, netrep, anatome, resi, pytorch_cka, ckatorch]
CONTENDERS += [limit, layer_map, layer_products, permutations]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("contender", choices=[contender.__name__ for contender in CONTENDERS])
    parser.add_argument("n", type=int)
    parser.add_argument("layers", type=int)
    parser.add_argument("d", type=int)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    run = next(contender for contender in CONTENDERS if contender.__name__ == arguments.contender)
    try:
        run(representations(64, 1, 16))  # imports and first calls
    except ModuleNotFoundError as missing:
        print(json.dumps({"missing": str(missing)}))
        return
    sides = representations(arguments.n, arguments.layers, arguments.d)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, busy = time.perf_counter(), time.process_time()
    values = run(sides)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    extra = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
    print(json.dumps({"seconds": seconds, "processor_seconds": busy, "values": values, "extra_gigabytes": extra}))


if __name__ == "__main__":
    main()
