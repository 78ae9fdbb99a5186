"""A bundle as an ONNX graph: raw feature rows in, probabilities and attack score out, preprocessing included.

    rows [n, features] float32 (NaN = missing, categories as codes)
      -> preprocessing as traffic/preprocess.py defines it (signed log, curve or affine, one-hot, missing bits)
      -> the model's layers -> probabilities [n, classes], attack_score [n] (metrics.attack_scores, anomaly_scores)

Opset 17, so onnxruntime from 1.13 on reads it. An autoencoder has no probabilities; without a benign class there is no
attack score. Law: the outputs equal numpy's within 1e-5 (tests/training/test_training_onnx.py).
What it does not do: compare the score with the threshold; it stands in the graph's metadata beside labels and schema.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

from wardround import __version__
from wardround.arrays import F32, Array
from wardround.params import views
from wardround.training.bundle import Bundle
from wardround.training.layers import Dense, Layer, Norm, Relu, Skip
from wardround.training.metrics import error_scale
from wardround.training.models import layers_of

OPSET = 17
IR_VERSION = 8
LOG_SCALE = 1e6


def export(bundle: Bundle) -> bytes:
    """The bytes of the ONNX model.

    Raises:
        ValueError: the model is not made of layers, or the preprocessing record cannot be read.
    """
    graph = _Graph()
    try:
        inputs = _preprocess(graph, bundle.preprocessing)
        features = int(bundle.preprocessing["features"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"the preprocessing record cannot be exported: {error!r}") from error
    layers = layers_of(bundle.model, bundle.inputs, len(bundle.labels))
    tensors = views(bundle.model.layout(bundle.inputs, len(bundle.labels)), bundle.parameters)
    z = _layers(graph, layers, tensors, inputs)
    outputs = _anomaly(graph, bundle, z, inputs) if bundle.model.unsupervised else _classes(graph, bundle, z)
    made = helper.make_graph(
        graph.nodes,
        f"wardround-{bundle.model.name}",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["n", features])],
        outputs,
        graph.constants,
    )
    model = helper.make_model(
        made,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="wardround",
        producer_version=__version__,
    )
    about = {"labels": list(bundle.labels), "benign": bundle.benign, "schema": bundle.schema}
    helper.set_model_props(model, {k: json.dumps(v) for k, v in {**about, "threshold": bundle.threshold}.items()})
    checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


class _Graph:
    """Nodes and constants so far; ``add`` returns the name of what a node gives."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, kind: str, *operands: str | Array, name: str = "", **attributes: Any) -> str:
        names = [o if isinstance(o, str) else self._constant(o) for o in operands]
        made = name or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, names, [made], **attributes))
        return made

    def _constant(self, value: Array) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name


def _float(value: float) -> F32:
    return np.array(value, dtype=np.float32)


def _index(values: Sequence[int]) -> Array:
    return np.array(values, dtype=np.int64)


def _preprocess(graph: _Graph, record: Any) -> str:
    parts = []
    if record["columns"]:
        parts.append(_scaled(graph, _index(record["columns"]), record["scaler"]))
    if record["words"]:
        words = np.array(record["words"], dtype=np.int64).reshape(-1, 2)
        codes = graph.add("Gather", "rows", words[:, 0], axis=1)
        same = graph.add("Equal", codes, words[:, 1].astype(np.float32))
        parts.append(graph.add("Cast", same, to=TensorProto.FLOAT))
    if record["masks"]:
        missing = graph.add("IsNaN", graph.add("Gather", "rows", _index(record["masks"]), axis=1))
        parts.append(graph.add("Cast", missing, to=TensorProto.FLOAT))
    if not parts:
        raise ValueError("the preprocessing record has no inputs")
    return graph.add("Concat", *parts, axis=1)


def _scaled(graph: _Graph, columns: Array, scaler: Any) -> str:
    raw = graph.add("Gather", "rows", columns, axis=1)
    missing = graph.add("IsNaN", raw)
    values = graph.add("Where", missing, _float(0), raw)
    size = graph.add("Mul", graph.add("Abs", values), _float(LOG_SCALE))
    log = graph.add("Mul", graph.add("Sign", values), graph.add("Log", graph.add("Add", size, _float(1))))
    if scaler["kind"] == "curves":
        found = _curves(graph, log, scaler)
    elif scaler["kind"] == "affine":
        found = _affine(graph, values, log, scaler)
    else:
        raise ValueError(f"no scaler is named {scaler['kind']!r}")
    return graph.add("Where", missing, _float(0), found)


def _curves(graph: _Graph, log: str, scaler: Any) -> str:
    table = np.array(scaler["table"], dtype=np.float32)
    bins = table.shape[1] - 1
    position = graph.add("Div", graph.add("Sub", log, _float(scaler["lo"])), _float(scaler["width"]))
    position = graph.add("Clip", position, _float(0), _float(bins))
    knot = graph.add("Min", graph.add("Floor", position), _float(bins - 1))
    # one flat table: column j starts at j * (bins + 1)
    starts = np.arange(len(table), dtype=np.int64) * (bins + 1)
    place = graph.add("Add", graph.add("Cast", knot, to=TensorProto.INT64), starts)
    flat = table.reshape(-1)
    left = graph.add("Gather", flat, place)
    step = graph.add("Sub", graph.add("Gather", flat, graph.add("Add", place, _index([1]))), left)
    return graph.add("Add", left, graph.add("Mul", graph.add("Sub", position, knot), step))


def _affine(graph: _Graph, values: str, log: str, scaler: Any) -> str:
    mean, std = (np.array(scaler[key], dtype=np.float32) for key in ("mean", "std"))
    chosen = graph.add("Where", np.array(scaler["log"], dtype=np.bool_), log, values)
    scaled = graph.add("Div", graph.add("Sub", chosen, mean), std)
    return graph.add("Clip", scaled, _float(-scaler["clip"]), _float(scaler["clip"]))


def _layers(graph: _Graph, layers: Sequence[Layer], tensors: dict[str, F32], x: str) -> str:
    for layer in layers:
        if isinstance(layer, Skip):
            x = graph.add("Add", x, _layers(graph, layer.layers, tensors, x))
        else:
            x = _layer(graph, layer, tensors, x)
    return x


def _layer(graph: _Graph, layer: Dense | Relu | Norm, tensors: dict[str, F32], x: str) -> str:
    if isinstance(layer, Dense):
        return graph.add("Gemm", x, tensors[f"{layer.name}.weight"], tensors[f"{layer.name}.bias"])
    if isinstance(layer, Norm):
        scale, shift = tensors[f"{layer.name}.scale"], tensors[f"{layer.name}.shift"]
        return graph.add("LayerNormalization", x, scale, shift, axis=-1, epsilon=layer.epsilon)
    return graph.add("Relu", x)


def _classes(graph: _Graph, bundle: Bundle, z: str) -> list[Any]:
    classes = len(bundle.labels)
    graph.add("Softmax", z, axis=1, name="probabilities")
    outputs = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", classes])]
    if bundle.benign is None or classes < 2:
        return outputs
    attacks = graph.add("Gather", z, _index([k for k in range(classes) if k != bundle.benign]), axis=1)
    top = graph.add("ReduceMax", attacks, axes=[1], keepdims=1)
    total = graph.add("ReduceSum", graph.add("Exp", graph.add("Sub", attacks, top)), _index([1]), keepdims=1)
    odds = graph.add("Add", top, graph.add("Log", total))
    benign = graph.add("Gather", z, _index([bundle.benign]), axis=1)
    graph.add("Squeeze", graph.add("Sub", odds, benign), _index([1]), name="attack_score")
    return [*outputs, helper.make_tensor_value_info("attack_score", TensorProto.FLOAT, ["n"])]


def _anomaly(graph: _Graph, bundle: Bundle, z: str, inputs: str) -> list[Any]:
    if bundle.typical is None:
        raise ValueError("an autoencoder's bundle needs the typical error of each input")
    off = graph.add("Sub", z, inputs)
    share = graph.add("Div", graph.add("Mul", off, off), error_scale(bundle.typical).astype(np.float32))
    mean = graph.add("ReduceMean", share, axes=[1], keepdims=0)
    graph.add("Log", graph.add("Max", mean, _float(1e-30)), name="attack_score")
    return [helper.make_tensor_value_info("attack_score", TensorProto.FLOAT, ["n"])]
