"""scikit-learn's own checks of an estimator, all of them: whoever puts ours into a pipeline or a search relies on every one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("sklearn")

from sklearn.utils.estimator_checks import parametrize_with_checks

from ranvier.sklearn import NNClassifier, NNRegressor

SOURCE = """
model ridge(features, outputs) {
    input x: f32[features]
    target y: f32[outputs]
    target weight: f32
    z = x -> dense(outputs)
    predict z
    loss weight * mse(z, y)
}
train { optimizer = adam(lr = 0.05) ; regularize = l2(1e-4) ; batch = 300 ; epochs = 200 }
"""


@parametrize_with_checks([NNClassifier(), NNRegressor(), NNRegressor(SOURCE)])
def test_scikit_learn_accepts(estimator: NNClassifier | NNRegressor, check: Callable[[object], None]) -> None:
    check(estimator)
