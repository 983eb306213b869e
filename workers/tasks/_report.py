"""The report of a dataset as one HTML file that needs nothing else: no script, everything escaped, light and dark."""

from __future__ import annotations

from html import escape
from typing import Any

_STYLE = """
:root{color-scheme:light dark;font:15px/1.5 system-ui,sans-serif}body{max-width:72rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin:0}p{margin:.25rem 0 1.5rem;opacity:.75}table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.45rem .6rem;border-bottom:1px solid color-mix(in srgb,currentColor 18%,transparent);vertical-align:top}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}th{font-weight:600;font-size:.85rem}.d{opacity:.65;font-size:.85rem}
.scroll{overflow-x:auto}td:first-child{overflow-wrap:anywhere;min-width:8rem}svg{display:block;margin-top:.3rem}
rect.m{fill:#c2410c}rect.c{fill:#15803d}@media print{body{margin:0;max-width:none}}
"""


def html(name: str, result: dict[str, Any], seconds: float) -> str:
    """Write the report."""
    rows = "".join(_row(column, told) for column, told in result["columns"].items())
    rejected = result.get("rejected")
    note = f", {rejected['count']:,} rejected" if rejected else ""
    head = "".join(
        f"<th{' class=n' if number else ''}>{words}</th>"
        for words, number in (("Column", 0), ("Type", 0), ("Values", 1), ("Missing", 1), ("Distinct", 1), ("Least", 1),
                              ("Most", 1), ("Mean", 1), ("Std. dev.", 1), ("Most often", 0))
    )  # fmt: skip
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{escape(name)}</title><style>{_STYLE}</style><h1>{escape(name)}</h1>"
        f"<p>{result['records']:,} records, {len(result['columns'])} columns{note}; read in {seconds:.1f} s</p>"
        f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{_rejected(rejected)}</html>"
    )


def _row(name: str, told: dict[str, Any]) -> str:
    total = told["count"] + told["missing"]
    share = 100 * told["count"] / total if total else 0
    bar = (
        f"<svg width=100 height=5 aria-hidden=true><rect class=m width=100 height=5 />"
        f"<rect class=c width={share:.1f} height=5 /></svg>"
    )
    numbers = [_number(told.get(key)) for key in ("distinct", "min", "max", "mean", "stddev")]
    top = ", ".join(f"{escape(one['value'])} <span class=d>{one['count']:,}</span>" for one in told.get("top", [])[:3])
    cells = "".join(
        f"<td class=n>{cell}</td>" for cell in (f"{told['count']:,}{bar}", f"{told['missing']:,}", *numbers)
    )
    return f"<tr><td>{escape(name)}</td><td>{told['type']}</td>{cells}<td>{top}</td></tr>"


def _number(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) < 10**15 else f"{value:.6e}"
    return f"{value:,.6g}" if isinstance(value, float) else escape(str(value))


def _rejected(rejected: dict[str, Any] | None) -> str:
    if not rejected:
        return ""
    lines = "".join(f"<li>line {one['line']:,}: {escape(one['error'])}</li>" for one in rejected["examples"])
    return f"<h2>Rejected records</h2><ul>{lines}</ul>"
