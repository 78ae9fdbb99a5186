"""The bundle's bytes: round trip, named refusals, damage anywhere."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from wardround.errors import DecodeError
from wardround.training.bundle import FORMAT, Bundle, from_safetensors, to_safetensors
from wardround.training.models import Autoencoder, Logistic, Mlp, Residual

MODELS = [Logistic(), Mlp((5, 4)), Residual(4, 2), Autoencoder((3, 2, 3))]


def bundle(model: Any) -> Any:
    parameters = model.init(3, 2, np.random.default_rng(0))
    preprocessing = {"features": 3, "columns": [0, 1, 2]}
    return Bundle(model, parameters, 3, ("benign", "attack"), 0, "id", preprocessing, 1.5, np.ones(3), {"run": "r"})


def rewritten(**changes: Any) -> Any:
    """A bundle whose record says something else."""
    data = to_safetensors(bundle(Mlp((5, 4))))
    length = int.from_bytes(data[:8], "little")
    record = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][FORMAT])
    return save(load(data), {FORMAT: json.dumps({**record, **changes})})


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.name)
def test_round_trip(model: Any) -> None:
    before = bundle(model)
    after = from_safetensors(to_safetensors(before))
    assert np.array_equal(after.parameters, before.parameters)
    counted = Bundle(**{**vars(before), "benign_scores": np.eye(1, 2000, 7)[0] * 5})
    held = from_safetensors(to_safetensors(counted)).benign_scores
    assert held is not None
    assert held[7] == held.sum() == 5
    assert after.benign_scores is None
    assert after.typical is not None
    assert before.typical is not None
    assert np.array_equal(after.typical, before.typical)
    for name in ("model", "inputs", "labels", "benign", "schema", "preprocessing", "threshold", "notes"):
        assert getattr(after, name) == getattr(before, name)
    assert to_safetensors(after) == to_safetensors(before)
    beside = from_safetensors(
        to_safetensors(replace(before, arrays={"normal//centre": np.arange(3, dtype=np.float32)}))
    )
    assert list(beside.arrays) == ["normal//centre"]
    assert np.array_equal(beside.arrays["normal//centre"], [0, 1, 2])
    assert np.array_equal(beside.parameters, before.parameters)


def test_parameters_that_do_not_fit_are_not_written() -> None:
    with pytest.raises(ValueError, match="the layout"):
        to_safetensors(replace(bundle(Logistic()), parameters=np.zeros(3, np.float32)))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"model": {"use": "mpl", "hidden": [5, 4]}}, "no model is named 'mpl'"),
        ({"model": {"use": "mlp", "hidden": [5, 5]}}, "shape"),
        ({"model": {"use": "mlp", "hidden": [5, "4"]}}, "whole numbers"),
        ({"model": {"use": "residual", "blocks": 10**9}}, "blocks"),
        ({"model": {"use": "mlp", "wide": 1}}, "wide"),
        ({"inputs": 4, "typical": None}, "shape"),
        ({"inputs": True}, "inputs"),
        ({"labels": ["a"]}, "benign|shape"),
        ({"labels": [1, 2]}, "labels"),
        ({"benign": 2}, "benign"),
        ({"threshold": "high"}, "threshold"),
        ({"typical": [1, 2]}, "typical"),
        ({"benign_scores": {"9000": 1.0}}, "benign_scores"),
        ({"benign_scores": {"-1": 1.0}}, "benign_scores"),
        ({"benign_scores": {"1": -1.0}}, "benign_scores"),
        ({"benign_scores": [1]}, "items"),
        ({"preprocessing": []}, "preprocessing"),
        ({"notes": 3}, "fit together"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(changes: Any, text: Any) -> None:
    with pytest.raises(DecodeError, match=text):
        from_safetensors(rewritten(**changes))


def test_another_format_and_float64_are_refused() -> None:
    data = to_safetensors(bundle(Logistic()))
    with pytest.raises(DecodeError, match="holds \\['other'\\]"):
        from_safetensors(save(load(data), {"other": "1"}))
    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + length])["__metadata__"]
    with pytest.raises(DecodeError, match="float32"):
        from_safetensors(save({k: v.astype(np.float64) for k, v in load(data).items()}, metadata))


def test_every_truncation_and_an_extension_are_refused() -> None:
    data = to_safetensors(bundle(Logistic()))
    for end in range(len(data)):
        with pytest.raises(DecodeError):
            from_safetensors(data[:end])
    with pytest.raises(DecodeError):
        from_safetensors(data + b"x")
