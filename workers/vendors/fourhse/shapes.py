"""What the documents say of 4HSE's resources."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shape:
    """One kind of entity."""

    path: str
    id: str
    #: Fields that create and update need; update's example leaves them out, its schema does not.
    required: tuple[str, ...] = ()
    #: What index and view add, and create and update do not know.
    computed: frozenset[str] = frozenset()
    #: Whether index knows `history`.
    history: bool = False
    #: What names an entity where its id is not known, and which create can be asked to take for the same.
    key: tuple[str, ...] = ()


_ACTION = {"action_code", "action_name", "action_type"}
_SUBSCRIBER = {"subscriber_code", "subscriber_name"}
_CERTIFICATE = {"last_certificate_id", "certificate_date_release", "certificate_date_expire"}
_PARENTS = {"office_name", "project_name", "project_type", "owned_active", "parent_active"}

SHAPES: Mapping[str, Shape] = {
    shape.path: shape
    for shape in (
        Shape(
            "action-subscription",
            "action_subscription_id",
            ("action_id", "subscriber_id", "subscriber_type", "subtenant_id", "tenant_id"),
            frozenset({"status"} | _ACTION | _SUBSCRIBER | _CERTIFICATE | _PARENTS),
            history=True,
        ),
        Shape(
            "action-session-subscription",
            "action_session_subscription_id",
            ("action_session_id", "action_subscription_id", "subtenant_id", "tenant_id"),
            frozenset(
                {"subscriber_id", "subscriber_type", "action_id", "validity", "validity_unit", "session_date_begin"} | _ACTION | _SUBSCRIBER
            ),
        ),
        Shape("action", "action_id"),
        Shape("action-session", "action_session_id", ("action_id", "subtenant_id", "tenant_id")),
        Shape("certificate", "certificate_id", ("date_release", "name", "action_type", "resource_id", "tenant_id")),
        Shape("certificate-action", "certificate_action_id", ("certificate_id", "action_id", "tenant_id")),
        Shape("person", "person_id", ("first_name", "last_name", "birth_date", "project_id"), key=("code", "project_id")),
    )
}
