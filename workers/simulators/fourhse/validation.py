"""What 4HSE says of a row before it takes it: Yii2's first error of each field."""

from collections.abc import Mapping
from datetime import date

from workers.simulators.fourhse.kinds import DATES, Kind, Row

#: "For TRAINING, HEALTH, PER: must be PERSON; for MAINTENANCE: EQUIPMENT, WORK_ENVIRONMENT, PPE, OFFICE; for CHECK: any."
_FITTING = {
    "TRAINING": ("PERSON",),
    "HEALTH": ("PERSON",),
    "PER": ("PERSON",),
    "MAINTENANCE": ("EQUIPMENT", "WORK_ENVIRONMENT", "PPE", "OFFICE"),
}


def errors(kind: Kind, row: Row, given: Row, tables: Mapping[str, Mapping[str, Row]]) -> dict[str, str]:
    """Messages by field. `given` is the request's body: update of a strict kind needs the required fields in it, whatever the row has."""
    sent = given if kind.strict else row
    found = {name: f"{label(name)} cannot be blank." for name in kind.required if sent.get(name) in (None, "")}
    for name, allowed in kind.allowed.items():
        if row.get(name) is not None and row[name] not in allowed:
            found.setdefault(name, f"{label(name)} is invalid.")
    for name in DATES.intersection(kind.fields):
        if not _is_date(row.get(name)):
            found.setdefault(name, f"The format of {label(name)} is invalid.")
    for name, parent in kind.parents:
        if row.get(name) not in tables[parent]:
            found.setdefault(name, f"{label(name)} is invalid.")
    return found or _misfit(kind, row, tables)


def label(name: str) -> str:
    """A field's name as Yii2 makes a label of it."""
    return name.replace("_", " ").title().replace(" Id", " ID")


def _misfit(kind: Kind, row: Row, tables: Mapping[str, Mapping[str, Row]]) -> dict[str, str]:
    if kind.path != "action-subscription":
        return {}
    action_type = tables["action"][row["action_id"]]["action_type"]
    if row["subscriber_type"] in _FITTING.get(action_type, (row["subscriber_type"],)):
        return {}
    return {"subscriber_type": f"Subscriber Type is not compatible with {action_type}."}


def _is_date(value: object) -> bool:
    if value in (None, ""):
        return True
    try:
        date.fromisoformat(str(value)[:10])
    except ValueError:
        return False
    return True
