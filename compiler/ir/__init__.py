"""The op graph: types, nodes, primitive operations, printer, verifier and the NumPy reference evaluator."""
