"""The data dictionary of the warehouse: every table and column, as the models' files describe them."""

from __future__ import annotations

from etl.warehouse.models import Kind, Model, models


def markdown() -> str:
    """The dictionary of all tables: what people chart first, then what it is made of, each in alphabetical order."""
    ordered = sorted(models(), key=lambda model: (model.labels["layer"] != "mart", model.name))
    return "\n\n".join(_table(model) for model in ordered)


def _table(model: Model) -> str:
    lines = [f"## `{model.name}`", "", f"{model.description}", "", f"*{'; '.join(_facts(model))}*", ""]
    lines += ["| column | type | what it holds |", "|---|---|---|"]
    lines += [f"| `{column.name}` | {column.type} | {column.description} |" for column in model.columns]
    if model.checks:
        lines += ["", "| check | | why |", "|---|---|---|"]
        lines += [f"| `{check.name}` | {check.severity} | {check.why} |" for check in model.checks]
    return "\n".join(lines)


def _facts(model: Model) -> list[str]:
    facts = [{Kind.VIEW: "a view"}.get(model.kind, "a table")]
    if model.reads:
        facts.append(f"made of {', '.join(f'`{name}`' for name in model.reads)}")
    if model.partition is not None:
        wanted = ", and queries must say which days they want" if model.partition.require_filter else ""
        facts.append(f"cut by {model.partition.by} of `{model.partition.field}`{wanted}")
    if model.cluster:
        facts.append(f"clustered by {', '.join(f'`{name}`' for name in model.cluster)}")
    return [*facts, f"owner {model.owner}"]
