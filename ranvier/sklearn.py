"""Estimators for scikit-learn: `NNClassifier` and `NNRegressor` train a `.nn` file, its source, or layers of given sizes.

from ranvier.sklearn import NNClassifier

classifier = NNClassifier(hidden=[64, 32], random_state=0).fit(X, y)
classifier.predict_proba(X)
"""

from __future__ import annotations

try:
    import sklearn  # noqa: F401
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError("ranvier.sklearn needs scikit-learn: pip install 'ranvier[sklearn]'", name=missing.name) from None

from ranvier.runtime.estimators.classifier import NNClassifier
from ranvier.runtime.estimators.regressor import NNRegressor

__all__ = ["NNClassifier", "NNRegressor"]
