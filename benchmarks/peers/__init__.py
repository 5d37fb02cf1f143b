"""Who is timed: each peer is a module with a class `Choice`, imported only in the process that times it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec

from ..layers import BatchNorm, Convolution, Dense, Flatten, Layer, MaxPool, MeanPool, Relu, Residual, kinds
from ..work import Network


@dataclass(frozen=True)
class Candidate:
    """A peer before it is imported: its title, its module here, the packages and programs it needs, its environment on some threads.

    In `environment` the text THREADS stands for their number and MANY for whether there are several. `library` is what a user imports.
    """

    title: str
    module: str
    library: str
    packages: tuple[str, ...]
    programs: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    cache: str = ""
    """Environment variable of the folder in which compiled code is kept between processes."""
    layers: frozenset[type[Layer]] | None = None
    """The kinds of layers that it is timed with; None for all."""

    @property
    def missing(self) -> str:
        """What it needs and is not there; empty when it can run."""
        return ", ".join([p for p in self.packages if not find_spec(p)] + [p for p in self.programs if not shutil.which(p)])

    def makes(self, network: Network) -> bool:
        """Whether it is timed with the network."""
        return self.layers is None or kinds(network.layers) <= self.layers

    def variables(self, threads: int) -> dict[str, str]:
        """Its environment on a number of threads."""
        pools = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC"), str(threads))
        own = {k: v.replace("THREADS", str(threads)).replace("MANY", str(threads > 1).lower()) for k, v in self.environment.items()}
        return pools | own


XLA = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=MANY", "JAX_PLATFORMS": "cpu", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
KEPT = "JAX_COMPILATION_CACHE_DIR"
PERCEPTRONS = frozenset({Dense, Relu})
FEED_FORWARD = PERCEPTRONS | {Convolution, BatchNorm, MaxPool, MeanPool, Flatten, Residual}

PEERS = {
    "ranvier": Candidate("Ranvier", "with_ranvier", "ranvier", ("ranvier",), cache="RANVIER_CACHE_DIR"),
    "torch": Candidate("PyTorch", "with_pytorch", "torch", ("torch",)),
    "compiled": Candidate(
        "torch.compile",
        "with_torch_compile",
        "torch",
        ("torch",),
        ("g++",),
        {"TORCH_LOGS": "-dynamo"},
        "TORCHINDUCTOR_CACHE_DIR",
        FEED_FORWARD,
    ),
    "jax": Candidate("JAX", "with_jax", "jax", ("jax",), environment=XLA, cache=KEPT),
    "scan": Candidate("JAX, epoch in one scan", "with_jax_scan", "jax", ("jax",), environment=XLA, cache=KEPT, layers=PERCEPTRONS),
    "onnxruntime": Candidate("ONNX Runtime", "with_onnxruntime", "onnxruntime", ("onnxruntime", "onnx")),
    "sklearn": Candidate("scikit-learn", "with_scikit_learn", "sklearn.neural_network", ("sklearn", "threadpoolctl"), layers=PERCEPTRONS),
}
