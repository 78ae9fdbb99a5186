"""A model one can carry away: parameters and everything needed to use them, as safetensors bytes or as ONNX bytes.

The safetensors file holds the named tensors; its metadata holds one JSON record: model description, inputs, labels,
schema id, preprocessing, threshold. Nothing in it is code, and nothing is run on loading.
Laws: ``from_safetensors(to_safetensors(b))`` equals ``b``; arbitrary bytes give ``DecodeError``, never another exception.
What it does not do: touch files (drivers/store), interpret the preprocessing record (traffic/preprocess.py, onnx_graph.py).
"""

from __future__ import annotations

import dataclasses
import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from wardround.arrays import F32, F64
from wardround.errors import DecodeError
from wardround.params import flatten, views
from wardround.training.metrics import ScoreBins
from wardround.training.models import MODELS, Model

FORMAT = "wardround-bundle-1"
BESIDE = "beside/"
KINDS: Mapping[str, type] = {kind.name: kind for kind in MODELS}  # type: ignore[attr-defined]


@dataclass(frozen=True, eq=False)
class Bundle:
    """A trained model with what it needs.

    parameters [d] of ``model`` for ``inputs`` prepared features. ``labels``: class names by code; ``benign``: code of
    normal traffic or None. ``schema``: id of the raw rows' schema. ``preprocessing``: the preprocessor's record.
    ``threshold``: alert where the attack score is above it, or None. ``typical`` [inputs]: an autoencoder's mean squared
    error of benign rows, or None. ``benign_scores`` [bins]: the federation's benign validation rows by score
    (metrics.ScoreBins), from which a threshold for any rate can be read, or None. ``notes``: plain text for people (run, date).
    ``arrays``: what travels beside the model by name, float32 (the federation's normal traffic: traffic/normal.py).
    """

    model: Model
    parameters: F32
    inputs: int
    labels: tuple[str, ...]
    benign: int | None
    schema: str
    preprocessing: Mapping[str, Any]
    threshold: float | None = None
    typical: F64 | None = None
    notes: Mapping[str, str] = field(default_factory=dict)
    benign_scores: F64 | None = None
    arrays: Mapping[str, F32] = field(default_factory=dict)


def to_safetensors(bundle: Bundle) -> bytes:
    """The bundle as bytes.

    Raises:
        ValueError: the parameters do not fit the model.
    """
    layout = bundle.model.layout(bundle.inputs, len(bundle.labels))
    tensors = {name: np.ascontiguousarray(part) for name, part in views(layout, bundle.parameters).items()}
    tensors |= {BESIDE + name: np.ascontiguousarray(part, dtype=np.float32) for name, part in bundle.arrays.items()}
    # one key only: safetensors writes several in an order that changes from process to process
    found: bytes = save(tensors, {FORMAT: json.dumps(_record(bundle), sort_keys=True, default=_listed)})
    return found


def from_safetensors(data: bytes, kinds: Mapping[str, type] = KINDS) -> Bundle:
    """The bundle in ``data``; ``kinds``: model classes by name (the catalogue's, where third parties have some).

    Raises:
        DecodeError: the bytes are not a bundle, of another version, of an unknown model, or do not fit together.
    """
    metadata = _metadata(data)
    if FORMAT not in metadata:
        raise DecodeError(f"not a bundle this version reads: its metadata holds {sorted(metadata)}, not {FORMAT!r}")
    try:
        record = json.loads(metadata[FORMAT])
        tensors = load(data)
        return _bundle(record, tensors, kinds)
    except SafetensorError as error:
        raise DecodeError(f"the bundle's tensors are damaged: {error}") from error
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise DecodeError(f"the bundle's parts do not fit together: {error!r}") from error


def to_onnx(bundle: Bundle) -> bytes:
    """The bundle as an ONNX model from raw feature rows to probabilities and attack score (onnx_graph.py).

    Raises:
        ValueError: the model is not made of layers, or the preprocessing record cannot be read.
    """
    # onnx takes a fifth of a second to import, and only the end of a run needs it
    from wardround.training.onnx_graph import export

    return export(bundle)


def _record(bundle: Bundle) -> dict[str, Any]:
    return {
        "model": {"use": bundle.model.name, **dataclasses.asdict(bundle.model)},  # type: ignore[call-overload]
        "inputs": bundle.inputs,
        "labels": list(bundle.labels),
        "benign": bundle.benign,
        "schema": bundle.schema,
        "preprocessing": dict(bundle.preprocessing),
        "threshold": bundle.threshold,
        "typical": None if bundle.typical is None else bundle.typical.tolist(),
        "benign_scores": None if bundle.benign_scores is None else _counted(bundle.benign_scores),
        "notes": dict(bundle.notes),
    }


def compact(bundle: Bundle) -> Bundle:
    """``bundle`` with the curves of its preprocessing as an array: a list of a hundred thousand Python floats takes ten times the
    memory, and a watching gateway keeps bundles for days.
    """
    record = dict(bundle.preprocessing)
    scaler = dict(record.get("scaler", {}))
    if "table" in scaler:
        scaler["table"] = np.array(scaler["table"], dtype=np.float32)
        record["scaler"] = scaler
    return replace(bundle, preprocessing=record)


def _listed(value: Any) -> Any:
    """For JSON: an array of ``compact`` as lists again."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no place in a bundle")


def _counted(counts: F64) -> dict[str, float]:
    """Counts by bin, without the empty ones."""
    return {str(index): float(counts[index]) for index in np.flatnonzero(counts)}


def _counts(record: Any) -> F64 | None:
    if record is None:
        return None
    found = np.zeros(ScoreBins().count)
    for index, count in record.items():
        _require(index.isdecimal() and int(index) < len(found), "benign_scores are counts by bin")
        _require(type(count) is float and 0 <= count < math.inf, "benign_scores are counts")
        found[int(index)] = count
    return found


def _metadata(data: bytes) -> Mapping[str, Any]:
    """The text metadata in the header: 8 bytes of length, then JSON. The tensors are checked by safetensors itself."""
    try:
        (length,) = struct.unpack("<Q", data[:8])
        if length > len(data) - 8:
            raise DecodeError("not a bundle: the bytes end before their header does")
        metadata = json.loads(data[8 : 8 + length])["__metadata__"]
    except (struct.error, ValueError, TypeError, KeyError, RecursionError) as error:
        raise DecodeError(f"not a bundle: no safetensors header with metadata ({error!r})") from error
    if not isinstance(metadata, dict):
        raise DecodeError("not a bundle: the metadata is not a table")
    return metadata


def _bundle(record: Mapping[str, Any], tensors: Mapping[str, F32], kinds: Mapping[str, type]) -> Bundle:
    model = _model(record["model"], kinds)
    own = {name: tensor for name, tensor in tensors.items() if not name.startswith(BESIDE)}
    labels, inputs = tuple(record["labels"]), record["inputs"]
    _require(bool(labels) and all(isinstance(name, str) for name in labels), "labels are names")
    _require(type(inputs) is int and inputs > 0, "inputs is a positive whole number")
    benign, threshold, typical = record["benign"], record["threshold"], record["typical"]
    _require(benign is None or (type(benign) is int and 0 <= benign < len(labels)), "benign is the code of a label")
    _require(threshold is None or (type(threshold) is float and not math.isnan(threshold)), "threshold is a number")
    _require(isinstance(record["preprocessing"], dict), "preprocessing is a table")
    _require(all(tensor.dtype == np.float32 for tensor in tensors.values()), "tensors are float32")
    errors = None if typical is None else np.array(typical, dtype=np.float64)
    _require(errors is None or errors.shape == (inputs,), "typical has a number for each input")
    return Bundle(
        model=model,
        parameters=flatten(model.layout(inputs, len(labels)), own),
        inputs=inputs,
        labels=labels,
        benign=benign,
        schema=str(record["schema"]),
        preprocessing=record["preprocessing"],
        threshold=threshold,
        typical=errors,
        benign_scores=_counts(record.get("benign_scores")),
        notes={str(k): str(v) for k, v in record["notes"].items()},
        arrays={name[len(BESIDE) :]: array for name, array in tensors.items() if name.startswith(BESIDE)},
    )


def _model(record: Mapping[str, Any], kinds: Mapping[str, type]) -> Model:
    kind = kinds.get(record["use"])
    if kind is None:
        raise ValueError(f"no model is named {record['use']!r}; there are {', '.join(sorted(kinds))}")
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in record.items() if k != "use"}
    model: Model = kind(**settings)
    return model


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"{what}: this record says otherwise")
