"""Passes: each a pure function from op graph to op graph, in a file of its own; `pipeline` is the one list of their order."""
