"""Makes the tables of docs/migrate/ from those in agent/migrate/.

A table stands in a page between ``<!-- table NAME -->`` and ``<!-- end -->``.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from agent.migrate import (
    calico_bgp_table,
    calico_environment,
    calico_felix_table,
    calico_table,
    flannel_table,
    kube_proxy_table,
    kube_router_annotations,
    kube_router_flags,
)
from agent.migrate.table import Row

FOLDER = Path(__file__).parents[2] / "docs/migrate"
_TABLE = re.compile(r"(<!-- table ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def tables() -> Mapping[str, str]:
    """Each table's text by its name in the pages."""
    flags = {
        f"kube-router-{_slug(title)}": rows_text(rows, "flag", "--")
        for title, rows in kube_router_flags.SECTIONS.items()
    }
    return flags | {
        "kube-router-nodes": rows_text(kube_router_annotations.NODE, "annotation"),
        "kube-router-annotations": rows_text(kube_router_annotations.SERVICE, "annotation"),
        "kube-router-labels": rows_text(kube_router_annotations.LABELS, "label"),
        "kube-router-environment": rows_text(kube_router_annotations.ENVIRONMENT, "variable"),
        "kube-router-metrics": metrics_text(),
        "flannel-net-conf": rows_text(flannel_table.NET_CONF, "field"),
        "flannel-flags": rows_text(flannel_table.FLAGS, "flag", "--"),
        "flannel-annotations": rows_text(flannel_table.ANNOTATIONS, "annotation", flannel_table.PREFIX),
        "calico-kinds": rows_text(calico_table.KINDS, "resource"),
        "calico-pools": rows_text(calico_table.POOL, "field"),
        "calico-felix": rows_text(calico_felix_table.FELIX, "field"),
        "calico-bgp": rows_text(calico_bgp_table.BGP_CONFIGURATION, "field"),
        "calico-bgp-peers": rows_text(calico_bgp_table.BGP_PEER, "field"),
        "calico-bgp-filters": rows_text(calico_bgp_table.BGP_RULE, "field"),
        "calico-bgp-nodes": rows_text(calico_bgp_table.BGP_NODE, "annotation"),
        "calico-environment": rows_text(calico_environment.ROWS, "variable"),
        "kube-proxy-fields": rows_text(kube_proxy_table.FIELDS, "field", flags=kube_proxy_flags()),
        "kube-proxy-flags": rows_text(kube_proxy_table.FLAGS, "flag", "--"),
    }


def _slug(title: str) -> str:
    return title.lower().replace(" ", "-").replace("'", "")


def rows_text(rows: Sequence[Row], what: str, prefix: str = "", flags: Mapping[str, str] | None = None) -> str:
    """A table: name, what it is here, what to do. Names of which the same is said share a line."""
    joined: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        harmless = [f"`{value}`" for value in row.harmless if value and not value.startswith("from {")]
        unless = f"; {', '.join(harmless)}: needless" if harmless else ""
        names = f"`{prefix}{row.name}`" + (f" ({flags[row.name]})" if flags and row.name in flags else "")
        joined.setdefault((str(row.outcome), row.text + unless, row.advice), []).append(names)
    lines = [f"| {what} | | here | what to do |", "|---|---|---|---|"]
    lines += [f"| {', '.join(names)} | {kind} | {text} | {advice} |" for (kind, text, advice), names in joined.items()]
    return "".join(f"{line}\n" for line in lines)


def kube_proxy_flags() -> Mapping[str, str]:
    """The flag by its field."""
    found: dict[str, list[str]] = {}
    for flag, field in kube_proxy_table.FLAG_FIELDS.items():
        found.setdefault(field, []).append(f"`--{flag}`")
    return {field: ", ".join(flags) for field, flags in found.items()}


def metrics_text() -> str:
    """kube-router's metrics."""
    lines = ["| `kube_router_...` | here | |", "|---|---|---|"]
    for theirs, ours, remark in kube_router_annotations.METRICS:
        lines.append(f"| {', '.join(f'`{name}`' for name in theirs.split(', '))} | {ours or 'none'} | {remark} |")
    return "".join(f"{line}\n" for line in lines)


def renewed(page: str) -> str:
    """A page with its tables as they are now.

    Raises:
        KeyError: it has a table of a name that there is not.
    """
    known = tables()
    return _TABLE.sub(lambda found: f"{found[1]}{known[found[2]]}{found[3]}", page)


def named(pages: Sequence[str]) -> set[str]:
    """The tables that pages have."""
    return {found[2] for page in pages for found in _TABLE.finditer(page)}


def files() -> Mapping[Path, str]:
    """The pages as they are to be."""
    return {path: renewed(path.read_text()) for path in sorted(FOLDER.glob("*.md"))}
