"""How the page of a report looks: one style sheet, light or dark as the reader's screen is, readable in print."""

from __future__ import annotations

from ..show import plot
from ..show.drawing import FILLS

DARK_FILLS = {"input": "#1e3a5f", "target": "#5a2630", "layer": "#1f4a2c", "step": "#2c2f36", "output": "#5a4a17"}

PAGE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c1e21; --faint: #5a6068; --rule: #d9dce1; --soft: #f4f5f7;
  --accent: #1d4ed8; --right: 29 78 216; --wrong: 194 65 12 }
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif }
main, header, nav { max-width: 68rem; margin: 0 auto; padding: 0 1.25rem }
header { padding-top: 2rem }
h1 { font-size: 1.9rem; margin: 0 0 .25rem }
h2 { font-size: 1.35rem; margin: 2.5rem 0 .75rem; padding-top: 1rem; border-top: 1px solid var(--rule) }
h3 { font-size: 1.05rem; margin: 1.5rem 0 .5rem }
p { max-width: 46rem }
.note { color: var(--faint) }
a { color: var(--accent) }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; padding: 0; margin: 1rem 0; list-style: none }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px }
.facts { display: flex; flex-wrap: wrap; gap: .75rem 2rem; margin: 1rem 0 }
.facts dt { color: var(--faint); font-size: .85rem }
.facts dd { margin: 0; font-size: 1.15rem; font-variant-numeric: tabular-nums }
.scroll { overflow-x: auto; margin: 1rem 0 }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums }
caption { text-align: left; color: var(--faint); padding: .25rem 0; white-space: nowrap }
th, td { padding: .25rem .7rem; text-align: left; border-bottom: 1px solid var(--rule); vertical-align: top }
thead th { border-bottom: 2px solid var(--rule) }
tbody th { font-weight: 600 }
.num { text-align: right }
.matrix td { text-align: right; min-width: 2.6rem }
.matrix td:not([class]) { color: var(--faint) }
.matrix td.said { background: rgb(var(--wrong) / calc(var(--share) * .75)) }
.matrix td.hit { background: rgb(var(--right) / calc(var(--share) * .45)); font-weight: 600 }
.bar { display: inline-block; height: .7em; background: var(--accent); margin-right: .5em; min-width: 1px }
pre { background: var(--soft); padding: 1rem; overflow-x: auto; font: .85rem/1.45 ui-monospace, monospace; tab-size: 4; margin: .5rem 0 }
summary { cursor: pointer; padding: .25rem 0 }
.plots, .cards { display: flex; flex-wrap: wrap; gap: 1rem }
.plots svg { max-width: 100%; height: auto }
.cards figure { margin: 0; padding: .75rem; background: var(--soft); max-width: 100% }
.cards figcaption { font-size: .88rem; margin-top: .4rem; max-width: 26rem; overflow-wrap: anywhere }
.cards img { image-rendering: pixelated; display: block; background: #000 }
.cards blockquote { margin: 0; max-width: 26rem; max-height: 14rem; overflow: auto; font: .85rem/1.45 ui-monospace, monospace;
  white-space: pre-wrap; overflow-wrap: anywhere }
.graph svg { display: block }
footer { color: var(--faint); max-width: 68rem; margin: 3rem auto 2rem; padding: 0 1.25rem }
@media print { nav { display: none } .scroll { overflow: visible } details > * { display: block } }
"""
DARK = """
:root { --paper: #16181d; --ink: #e6e8eb; --faint: #a3a9b2; --rule: #363a42; --soft: #1f2229; --accent: #7aa7ff;
  --right: 90 140 255; --wrong: 255 130 70 }
.graph text { fill: #e6e8eb }
.graph svg > rect[fill="white"] { fill: #16181d }
.graph path { stroke: #9aa1ab }
.graph marker path { fill: #9aa1ab; stroke: none }
"""


def sheet() -> str:
    """The whole style sheet."""
    boxes = "".join(f'.graph rect[fill="{FILLS[kind]}"] {{ fill: {colour} }}\n' for kind, colour in DARK_FILLS.items())
    return f"{PAGE}{plot.STYLE}@media (prefers-color-scheme: dark) {{{DARK}{boxes}{plot.DARK}}}"
