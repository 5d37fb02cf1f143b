"""The networks that are timed: if these fail, peers are compared on different work, or the right one is left out."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from benchmarked import FOLDER, cells, layers, peers, reference, with_ranvier, work
from ranvier.compiler.backend.program import build
from ranvier.compiler.kernels.cost import Cost
from ranvier.runtime.measuring import KernelTime, Measurement
from ranvier.runtime.opening import open_blueprint
from repository import ROOT

SMALL = layers.RESNET_20[:5] + layers.residual(32, stride=2, projection=True) + (layers.MaxPool(), layers.Flatten(), layers.Dense(7))
SHAPE = (9, 6, 3)
NETWORKS = {network.name: network for network in work.NETWORKS}


def some_averages(tree: Any, random: np.random.Generator) -> Any:
    """Running averages that are not the first ones, so that a mean is not taken for a variance."""
    return tuple(some_averages(branch, random) for branch in tree) if isinstance(tree, tuple) else random.uniform(0.5, 2, tree.shape)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_file_is_the_described_network(name: str) -> None:
    network = NETWORKS[name]
    found = with_ranvier.Choice(network, 1).predict()
    np.testing.assert_allclose(found, reference.probabilities(network), rtol=0, atol=1e-5)


def test_shapes_are_those_of_the_rows() -> None:
    random = np.random.default_rng(0)
    parameters, averages = layers.first_parameters(SMALL, SHAPE, random), layers.first_averages(SMALL, SHAPE)
    x = random.standard_normal((2, *SHAPE))
    for count in range(1, len(SMALL) + 1):
        y = reference.applied(SMALL[:count], parameters[:count], averages[:count], x)
        assert y.shape == (2, *layers.through(SMALL[:count], SHAPE)), SMALL[count - 1]


def test_values_for_channels_first() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is an extra: pip install 'ranvier[torch]'")
    random = np.random.default_rng(0)
    parameters, averages = layers.first_parameters(SMALL, SHAPE, random), some_averages(layers.first_averages(SMALL, SHAPE), random)
    x = random.standard_normal((4, *SHAPE))
    converted = layers.channels_first(SMALL, parameters, SHAPE)
    module = importlib.import_module("benchmarks.peers.with_pytorch").modules(SMALL, converted, averages).double().eval()
    found = module(torch.from_numpy(np.moveaxis(x, -1, 1).copy())).detach().numpy()
    np.testing.assert_allclose(found, reference.applied(SMALL, parameters, averages, x), rtol=0, atol=1e-5)  # averages pass through f32


def test_kinds_see_into_blocks() -> None:
    assert layers.kinds(layers.residual(8)) == {layers.Residual, layers.Convolution, layers.BatchNorm, layers.Relu}
    assert layers.kinds(layers.perceptron((3, 2))) == {layers.Dense, layers.Relu}


def test_leaves_come_in_the_order_of_the_layers() -> None:
    one, two, three, four = (np.full(1, number) for number in range(4))
    assert [int(leaf[0]) for leaf in layers.leaves(((one,), (), (((two,), ()), ((three,),)), (four,)))] == [0, 1, 2, 3]


CELLS = """
import json
import numpy as np
from benchmarks import layers, reference, work
from benchmarks.peers.{module} import Choice
found = []
for cell in layers.Rnn(5), layers.Lstm(5), layers.Gru(5):
    network = work.Network("small", "", (7, 3), layers.recurrent(cell), batch=4, batches=1)
    choice = Choice(network, 1)
    np.testing.assert_allclose(choice.predict(), reference.probabilities(network), rtol=0, atol=1e-5, err_msg=str(cell))
    found.append([choice.train(5), choice.predict().tolist()])
print(json.dumps(found))
"""


def test_every_peer_has_the_same_cells() -> None:
    """Each in a process of its own: they start threads, and PyTorch's changes the float mode."""
    learned = []
    for peer in ("torch", "jax", "onnxruntime"):
        if peers.PEERS[peer].missing:
            continue
        code = CELLS.format(module=peers.PEERS[peer].module)
        environment = os.environ | peers.PEERS[peer].variables(1) | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{peer}: {done.stderr}"
        learned.append(json.loads(done.stdout.splitlines()[-1]))
    training = [each for each in learned if each[0][0]]
    for one, other in itertools.pairwise(training):
        for (losses, after), (as_well, too) in zip(one, other, strict=True):
            np.testing.assert_allclose(losses, as_well, rtol=0, atol=1e-5)
            np.testing.assert_allclose(after, too, rtol=0, atol=1e-5)


def test_a_copy_of_the_library_s_cell_is_the_same_code() -> None:
    blueprints = [open_blueprint(FOLDER / "models" / f"{name}_64_256.nn") for name in ("lstm", "own_lstm")]
    library, own = (build(blueprint.program("train"), blueprint.target) for blueprint in blueprints)
    assert [kernel.name for kernel in own.kernels] == [kernel.name for kernel in library.kernels]
    assert own.entries == library.entries


def test_cells_are_told_by_their_share_of_the_peak(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    kernels = (KernelTime(0, 1, 1e-3, Cost(10**6, 1)), KernelTime(1, 100, 3e-3, Cost(3 * 10**6, 1)))

    def measured(name: str, _: str) -> Measurement:
        return Measurement(32, 1, 2e9, kernels, 4e-3 if name == "lstm" else 8e-3)

    monkeypatch.setattr(cells.rv, "compile", lambda source, threads: source.name.removesuffix("_64_256.nn"))
    monkeypatch.setattr(cells, "measure", measured)
    cells.main.callback("1,2")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1] == ["lstm", "4,000", "1.0", "50%", "1.00"]
    assert lines[2] == ["own_lstm", "8,000", "0.5", "25%", "0.50"]
    assert lines[-2] == ["gru", "8,000", "0.5", "25%", "0.50", "1.00"]
