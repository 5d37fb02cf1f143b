"""A saved setting reads back as the value it was."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ranvier.compiler.frontend.spelling import spell
from ranvier.compiler.frontend.values import Instance, Tensor
from ranvier.runtime.opening import open_blueprint

MODEL = """model m(_v = 1) {
    input x: f32[2]
    predict x
}
"""

texts = st.text(st.characters(exclude_categories=("C", "Z"), include_characters=' \n\t"\\'), max_size=20)
reals = st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: x == 0 or abs(x) > 1e-300)
numbers = st.integers(-(2**63) + 1, 2**63 - 1) | reals
values = st.recursive(st.booleans() | numbers | texts, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=6)


@given(values)
def test_a_value_reads_back(value: object) -> None:
    found = open_blueprint(MODEL, settings={"_v": spell(value)}).settings["_v"]  # type: ignore[arg-type]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinity_reads_back(value: float) -> None:
    assert open_blueprint(MODEL, settings={"_v": spell(value)}).settings["_v"] == value


def test_made_layers_and_functions_are_spelt_by_name() -> None:
    blueprint = open_blueprint(MODEL, overrides={"train.optimizer": "adam(lr = 0.5)"})
    optimizer = blueprint.overrides["train.optimizer"]
    assert isinstance(optimizer, Instance)
    assert spell(optimizer) == "adam(lr = 0.5, beta1 = 0.9, beta2 = 0.999, eps = 1e-08)"
    assert spell(optimizer.function) == "adam"


@pytest.mark.parametrize("value", [math.nan, Tensor(0)])
def test_what_has_no_text_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="cannot be written"):
        spell(value)  # type: ignore[arg-type]
