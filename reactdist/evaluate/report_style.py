"""Colours and the style sheet of our HTML pages; figures use the same colours."""

from __future__ import annotations

INK = "#1f2430"
MUTED = "#6b7280"
LINE = "#e2e5ea"
MODEL = "#1d5fbf"
SPEAKER = "#d9822b"
PASS = "#1b7f4b"
FAIL = "#b3261e"
CYCLE = ("#1d5fbf", "#d9822b", "#1b7f4b", "#8e44ad", "#b3261e", "#0e7c86", "#7a6a00", "#c2417c")

STYLE = f"""
:root {{ color-scheme: light; }}
* {{ box-sizing: border-box; }}
body {{ margin: 0; background: #f6f7f9; color: {INK}; font: 15px/1.5 system-ui, -apple-system,
  "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }}
main {{ max-width: 1240px; margin: 0 auto; padding: 32px 24px 64px; }}
h1 {{ font-size: 28px; line-height: 1.2; margin: 0 0 8px; }}
header {{ margin: 0 0 20px; }}
h2 {{ font-size: 19px; margin: 0 0 4px; }}
h3 {{ font-size: 15px; margin: 20px 0 6px; }}
.summary {{ color: {MUTED}; margin: 0; max-width: 80ch; }}
section {{ background: #fff; border: 1px solid {LINE}; border-radius: 10px; padding: 20px 24px;
  margin: 0 0 20px; }}
.note, figcaption {{ color: {MUTED}; font-size: 13px; margin: 0 0 12px; max-width: 95ch; }}
figure {{ margin: 16px 0 0; }}
figure svg, figure img {{ display: block; width: 100%; height: auto; }}
figcaption {{ margin: 4px 0 0; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }}
th, td {{ padding: 7px 10px; border-bottom: 1px solid {LINE}; text-align: left;
  vertical-align: top; }}
tbody tr:last-child > * {{ border-bottom: 0; }}
thead th {{ color: {MUTED}; font-size: 13px; font-weight: 600; white-space: nowrap; }}
table.scores td, table.scores thead th {{ text-align: right; white-space: nowrap;
  padding: 7px 6px; }}
table.scores tbody th {{ font-weight: 500; }}
table.scores td.text {{ color: {MUTED}; font-size: 12px; white-space: normal; max-width: 8em; }}
table.scores tr.model > * {{ background: #eef4fd; font-weight: 600; }}
table.scores tr td[rowspan] {{ background: none; font-weight: 400; vertical-align: middle; }}
table.scores tr.reference > * {{ color: {MUTED}; font-style: italic; }}
.interval {{ display: block; color: {MUTED}; font-size: 11px; font-weight: 400; }}
table.checks th {{ font-weight: 500; }}
table.checks td:first-child {{ white-space: nowrap; font-weight: 700; width: 1%; }}
.pass {{ color: {PASS}; }}
.fail {{ color: {FAIL}; }}
.facts {{ display: grid; gap: 0 32px;
  grid-template-columns: repeat(auto-fit, minmax(310px, 1fr)); }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: 3px 14px; margin: 0; }}
dt {{ color: {MUTED}; }}
dd {{ margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }}
ul {{ margin: 8px 0 0; padding-left: 20px; }}
@media print {{ body {{ background: #fff; }} section {{ break-inside: avoid; }} }}
"""
