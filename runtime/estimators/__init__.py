"""scikit-learn's estimators over compiled models: parameters, rows, targets, and models that pickle as their safetensors bytes."""
