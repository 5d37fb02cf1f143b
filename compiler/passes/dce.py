"""Dead code elimination: what no output needs is dropped, sources too; the rest keeps its order.

Before:  %0 = source(x) ; %1 = exp(%0) ; %2 = neg(%0) ; return y = %2
After:   %0 = source(x) ; %1 = neg(%0) ; return y = %1

Legal because operations are pure: a value that reaches no output cannot be noticed.
"""

from __future__ import annotations

from ..ir.graph import Graph, rewrite


def dce(graph: Graph) -> Graph:
    """The graph without dead nodes; the very same graph when there are none."""
    live = graph.live()
    return graph if len(live) == len(graph) else rewrite(graph, lambda new, node, operands: None, keep=live)
