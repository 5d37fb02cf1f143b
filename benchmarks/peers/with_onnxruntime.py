"""ONNX Runtime: inference, from arrays and with bound buffers."""

from __future__ import annotations

import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from ..work import Array, Job, Network, times


class Choice:
    """A session of the network."""

    def __init__(self, network: Network, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self.network = network
        model = network_as_onnx(network).SerializeToString()
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def predict(self) -> Array:
        """See `Peer`."""
        probabilities: Array = self.session.run(None, {"x": self.network.one_batch[0]})[0]
        return probabilities

    def train(self, _: int) -> list[float]:
        """See `Peer`."""
        return []

    def jobs(self) -> dict[str, list[Job]]:
        """See `Peer`."""
        x = self.network.one_batch[0]
        return {"infer": self.inferences(x), "infer one": self.inferences(x[:1].copy())}

    def inferences(self, x: Array) -> list[Job]:
        """Probabilities of rows."""
        binding = self.session.io_binding()
        binding.bind_cpu_input("x", x)
        binding.bind_output("probabilities", "cpu")
        return [times(lambda: self.session.run(None, {"x": x})), times(lambda: self.session.run_with_iobinding(binding))]


def network_as_onnx(network: Network) -> onnx.ModelProto:
    """The network as a graph of ONNX operators."""
    nodes, values, last = [], [], "x"
    for number, (weight, bias) in enumerate(network.parameters, 1):
        values += [numpy_helper.from_array(weight, f"weight_{number}"), numpy_helper.from_array(bias, f"bias_{number}")]
        nodes.append(helper.make_node("Gemm", [last, f"weight_{number}", f"bias_{number}"], [f"sum_{number}"]))
        last = f"sum_{number}"
        if number < len(network.parameters):
            nodes.append(helper.make_node("Relu", [last], [f"layer_{number}"]))
            last = f"layer_{number}"
    nodes.append(helper.make_node("Softmax", [last], ["probabilities"], axis=1))
    ends = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, ["rows", s])
        for n, s in (("x", network.sizes[0]), ("probabilities", network.sizes[-1]))
    ]
    graph = helper.make_graph(nodes, "perceptron", ends[:1], ends[1:], values)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
