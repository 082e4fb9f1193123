"""The data dictionary of the warehouse: every table and column, generated from the models."""

from __future__ import annotations

from etl.warehouse.models import Check, Kind, Model, models


def markdown() -> str:
    """Returns the dictionary of all tables as Markdown: first those to chart, then the others, each alphabetically."""
    ordered = sorted(models(), key=lambda model: (model.labels["layer"] != "mart", model.name))
    return "\n\n".join(_table(model) for model in ordered)


def _table(model: Model) -> str:
    lines = [f"## `{model.name}`", "", f"{model.description}", "", f"*{'; '.join(_facts(model))}*", ""]
    lines += ["| column | type | description |", "|---|---|---|"]
    lines += [f"| `{column.name}` | {column.type} | {column.description} |" for column in model.columns]
    if model.checks:
        lines += ["", "| check | severity | why |", "|---|---|---|"]
        lines += [f"| `{_check(check)}` | {check.severity} | {check.why} |" for check in model.checks]
    return "\n".join(lines)


def _check(check: Check) -> str:
    return f"{check.name}({', '.join(check.columns)})" if check.columns else check.name


def _facts(model: Model) -> list[str]:
    facts = [{Kind.VIEW: "a view"}.get(model.kind, "a table")]
    if model.reads:
        facts.append(f"built from {', '.join(f'`{name}`' for name in model.reads)}")
    if model.partition is not None:
        wanted = ", and queries must filter by it" if model.partition.require_filter else ""
        facts.append(f"partitioned by {model.partition.by} of `{model.partition.field}`{wanted}")
    if model.cluster:
        facts.append(f"clustered by {', '.join(f'`{name}`' for name in model.cluster)}")
    return [*facts, f"owned by {model.owner}"]
