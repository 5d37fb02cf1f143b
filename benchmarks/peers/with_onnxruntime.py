"""ONNX Runtime: inference, from arrays and with bound buffers. Images are channels first, and what can be folded is left to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from ..layers import (
    EPS,
    Array,
    BatchNorm,
    Cell,
    Convolution,
    Dense,
    Flatten,
    Gru,
    Layer,
    Layers,
    Lstm,
    MaxPool,
    MeanPool,
    Relu,
    Residual,
    Rnn,
    Tree,
)
from ..layers import channels_first as converted
from ..work import Job, Network, times


class Choice:
    """A session of the network."""

    def __init__(self, network: Network, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        model = network_as_onnx(network).SerializeToString()
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        x = network.one_batch[0]
        self.x = np.ascontiguousarray(np.moveaxis(x, -1, 1) if network.images else x)

    def predict(self) -> Array:
        """See `Peer`."""
        probabilities: Array = self.session.run(None, {"x": self.x})[0]
        return probabilities

    def train(self, _: int) -> list[float]:
        """See `Peer`."""
        return []

    def jobs(self) -> dict[str, list[Job]]:
        """See `Peer`."""
        return {"infer": self.inferences(self.x), "infer one": self.inferences(self.x[:1].copy())}

    def inferences(self, x: Array) -> list[Job]:
        """Probabilities of rows."""
        binding = self.session.io_binding()
        binding.bind_cpu_input("x", x)
        binding.bind_output("probabilities", "cpu")
        return [times(lambda: self.session.run(None, {"x": x})), times(lambda: self.session.run_with_iobinding(binding))]


class Graph:
    """ONNX operators and the values they hold, as they are added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.values: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str, values: Tree = (), result: str = "", **attributes: Any) -> str:
        """The name of what an operator makes of named inputs, followed by values."""
        held = [self.hold(value) for value in values]
        result = result or f"result_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, [*inputs, *held], [result], **attributes))
        return result

    def hold(self, value: Array) -> str:
        """The name of a constant."""
        name = f"value_{len(self.values)}"
        self.values.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def apply(self, layers: Layers, parameters: Tree, averages: Tree, x: str) -> str:
        """What leaves the last layer."""
        for layer, own, running in zip(layers, parameters, averages, strict=True):
            x = self.one_layer(layer, own, running, x)
        return x

    def one_layer(self, layer: Layer, own: Tree, running: Tree, x: str) -> str:
        """What leaves a layer."""
        match layer:
            case Dense():
                return self.add("Gemm", x, values=own)
            case Convolution(_, kernel, stride):
                return self.add("Conv", x, values=own, strides=[stride] * 2, pads=[kernel // 2] * 4)
            case BatchNorm():
                return self.add("BatchNormalization", x, values=own + running, epsilon=EPS)
            case Relu():
                return self.add("Relu", x)
            case MaxPool(size):
                return self.add("MaxPool", x, kernel_shape=[size] * 2, strides=[size] * 2)
            case MeanPool():
                return self.add("Flatten", self.add("GlobalAveragePool", x))
            case Flatten():
                return self.add("Flatten", x)
            case Cell():
                return self.last_value(layer, x, *own)
            case Residual(block, shortcut):
                branches = zip((block, shortcut), own, running, strict=True)
                return self.add("Add", *(self.apply(*branch, x) for branch in branches))
        raise NotImplementedError(layer)

    def last_value(self, cell: Cell, x: str, of_input: Array, of_state: Array, bias: Array, *others: Array) -> str:
        """What a cell gives at the last time. The operators take [time, rows, inputs], and weights gate by gate, each transposed."""
        second = np.zeros_like(bias)
        if others:
            second[-cell.units :] = others[0]
        values = [gates(cell, part)[None] for part in (of_input.T, of_state.T)]
        biases = np.concatenate([gates(cell, part) for part in (bias, second)])[None]
        sequence = self.add("Transpose", x, perm=[1, 0, 2])
        name = f"last_{len(self.nodes)}"
        held = [self.hold(value) for value in (*values, biases)]
        settings = {"linear_before_reset": 1} if isinstance(cell, Gru) else {}
        operator = type(cell).__name__.upper()
        self.nodes.append(helper.make_node(operator, [sequence, *held], ["", name], hidden_size=cell.units, **settings))
        return self.add("Squeeze", name, values=[np.zeros(1, np.int64)])


def gates(cell: Cell, values: Array) -> Array:
    """The rows of weights or a bias in the order of gates that the operators have."""
    order = {Rnn: (0,), Lstm: (0, 3, 1, 2), Gru: (1, 0, 2)}[type(cell)]
    parts = np.split(values, cell.gates)
    return np.concatenate([parts[number] for number in order])


def network_as_onnx(network: Network) -> onnx.ModelProto:
    """The network as a graph of ONNX operators."""
    graph = Graph()
    logits = graph.apply(network.layers, converted(network.layers, network.parameters, network.shape), network.averages, "x")
    graph.add("Softmax", logits, axis=1, result="probabilities")
    shape = (network.shape[-1], *network.shape[:-1]) if network.images else network.shape
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", *sizes])
        for name, sizes in (("x", shape), ("probabilities", (network.classes,)))
    ]
    made = helper.make_graph(graph.nodes, network.name, ends[:1], ends[1:], graph.values)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
