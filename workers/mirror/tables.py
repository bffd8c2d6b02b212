"""The mirror's tables. `workers/migrations/` creates them; a test holds the two against each other.

A result is kept in versions (`workers/mirror/versions.py`): a corrected or withdrawn one is a new row, and the one before it tells
when it was `superseded_at`; `observed_at` is when a version was last seen to be so.

JSON is read by the standard library: Tortoise takes orjson where it is installed, which makes floats of large integers.
"""

import json

from tortoise import fields
from tortoise.models import Model


class ActionSubscription(Model):
    """One entry of a compliance schedule, with 4HSE's own field names, and the evidence for what it says."""

    id = fields.BigIntField(primary_key=True)
    account = fields.TextField()
    action_subscription_id = fields.TextField()
    #: schemas.states.SubscriptionState
    state = fields.TextField()
    action_id = fields.TextField(null=True)
    subscriber_id = fields.TextField(null=True)
    subscriber_type = fields.TextField(null=True)
    subtenant_id = fields.TextField(null=True)
    tenant_id = fields.TextField(null=True)
    data = fields.JSONField[object](null=True, decoder=json.loads)
    action_type = fields.TextField(null=True)
    action_code = fields.TextField(null=True)
    action_name = fields.TextField(null=True)
    subscriber_code = fields.TextField(null=True)
    subscriber_name = fields.TextField(null=True)
    status = fields.TextField(null=True)
    last_certificate_id = fields.TextField(null=True)
    certificate_date_release = fields.DateField(null=True)
    certificate_date_expire = fields.DateField(null=True)
    office_name = fields.TextField(null=True)
    project_name = fields.TextField(null=True)
    project_type = fields.TextField(null=True)
    owned_active = fields.BooleanField(null=True)
    parent_active = fields.BooleanField(null=True)
    #: What is odd about the entry.
    flags = fields.JSONField[list[str]](decoder=json.loads)
    #: The strongest hint so far: workers.mirror.hints.Hint.strength.
    hint_deleted = fields.BooleanField(null=True)
    hint_received_at = fields.DatetimeField(null=True)
    hint_fingerprint = fields.BinaryField(null=True)
    last_action_session_subscription_id = fields.TextField(null=True)
    last_session_date = fields.DateField(null=True)
    project_status = fields.TextField(null=True)
    project_subscription_status = fields.TextField(null=True)
    #: A number in the document; kept as it comes.
    certificate_action_approvals = fields.JSONField[object](null=True, decoder=json.loads)
    manager = fields.JSONField[object](null=True, decoder=json.loads)
    assignee = fields.JSONField[object](null=True, decoder=json.loads)
    watcher = fields.JSONField[object](null=True, decoder=json.loads)
    #: When the last webhook about it arrived, whatever it said.
    hint_last_at = fields.DatetimeField(null=True)
    #: When the fetch that decided last began, and until when hints had to arrive for it to decide over them.
    fetched_at = fields.DatetimeField(null=True)
    fetch_covers = fields.DatetimeField(null=True)
    #: When the row was first seen, which opens its first cycle; when its status changes next by the calendar.
    first_seen_at = fields.DatetimeField(null=True)
    changes_at = fields.DatetimeField(null=True)

    class Meta:
        table = "action_subscriptions"
        unique_together = (("account", "action_subscription_id"),)
        indexes = (
            ("changes_at",),
            ("account", "subscriber_id"),
            ("account", "subscriber_code"),
            ("account", "last_certificate_id"),
            ("account", "subtenant_id"),
        )


class Action(Model):
    """4HSE's preventive actions."""

    id = fields.BigIntField(primary_key=True)
    account = fields.TextField()
    action_id = fields.TextField()
    action_type = fields.TextField(null=True)
    code = fields.TextField(null=True)
    name = fields.TextField(null=True)
    validity = fields.IntField(null=True)
    validity_unit = fields.TextField(null=True)
    expire_interval = fields.IntField(null=True)
    subtenant_id = fields.TextField(null=True)
    tenant_id = fields.TextField(null=True)
    gone = fields.BooleanField()
    fetched_at = fields.DatetimeField()

    class Meta:
        table = "actions"
        unique_together = (("account", "action_id"),)


class ActionSession(Model):
    """4HSE's planned sessions of an action."""

    id = fields.BigIntField(primary_key=True)
    account = fields.TextField()
    action_session_id = fields.TextField()
    action_id = fields.TextField(null=True)
    name = fields.TextField(null=True)
    date_begin = fields.DateField(null=True)
    date_end = fields.DateField(null=True)
    validity = fields.IntField(null=True)
    validity_unit = fields.TextField(null=True)
    subtenant_id = fields.TextField(null=True)
    tenant_id = fields.TextField(null=True)
    gone = fields.BooleanField()
    fetched_at = fields.DatetimeField()

    class Meta:
        table = "action_sessions"
        unique_together = (("account", "action_session_id"),)


class SessionEnrollment(Model):
    """4HSE's ActionSessionSubscriptions with their outcome, every version."""

    id = fields.BigIntField(primary_key=True)
    account = fields.TextField()
    action_session_subscription_id = fields.TextField()
    version = fields.IntField()
    observed_at = fields.DatetimeField()
    superseded_at = fields.DatetimeField(null=True)
    withdrawn = fields.BooleanField()
    action_session_id = fields.TextField(null=True)
    action_subscription_id = fields.TextField(null=True)
    done = fields.IntField(null=True)
    warning = fields.IntField(null=True)
    certificate_id = fields.TextField(null=True)
    date_begin = fields.DateField(null=True)
    date_expire = fields.DateField(null=True)
    validity = fields.IntField(null=True)
    validity_unit = fields.TextField(null=True)
    session_date_begin = fields.DateField(null=True)
    subtenant_id = fields.TextField(null=True)
    tenant_id = fields.TextField(null=True)

    class Meta:
        table = "session_enrollments"
        unique_together = (("account", "action_session_subscription_id", "version"),)
        indexes = (("account", "action_subscription_id"),)


class CourseResult(Model):
    """Results in courses and their activities, every version."""

    id = fields.BigIntField(primary_key=True)
    account = fields.TextField()
    learner = fields.TextField()
    course = fields.TextField()
    activity = fields.TextField()
    attempt = fields.IntField()
    version = fields.IntField()
    observed_at = fields.DatetimeField()
    superseded_at = fields.DatetimeField(null=True)
    withdrawn = fields.BooleanField()
    name = fields.TextField(null=True)
    grade = fields.FloatField(null=True)
    passed = fields.BooleanField(null=True)
    completed = fields.BooleanField()
    expired = fields.BooleanField(null=True)
    finished = fields.BooleanField(null=True)
    started_at = fields.DatetimeField(null=True)
    completed_at = fields.DatetimeField(null=True)

    class Meta:
        table = "course_results"
        unique_together = (("account", "learner", "course", "activity", "attempt", "version"),)


class Observation(Model):
    """iSpring's on-the-job sessions, every version."""

    id = fields.BigIntField(primary_key=True)
    account = fields.TextField()
    session_id = fields.TextField()
    version = fields.IntField()
    observed_at = fields.DatetimeField()
    superseded_at = fields.DatetimeField(null=True)
    withdrawn = fields.BooleanField()
    checklist_id = fields.TextField()
    checklist_title = fields.TextField(null=True)
    employee_id = fields.TextField()
    observer_id = fields.TextField()
    status = fields.TextField()
    planned_at = fields.DatetimeField(null=True)
    started_at = fields.DatetimeField(null=True)
    completed_at = fields.DatetimeField(null=True)
    result = fields.FloatField(null=True)
    total_points = fields.FloatField(null=True)
    points = fields.FloatField(null=True)

    class Meta:
        table = "observations"
        unique_together = (("account", "session_id", "version"),)
        indexes = (("account", "employee_id"),)


class Attendance(Model):
    """Who was at a Kare exercise, every version."""

    id = fields.BigIntField(primary_key=True)
    account = fields.TextField()
    intervention_id = fields.BigIntField()
    user_id = fields.BigIntField()
    version = fields.IntField()
    observed_at = fields.DatetimeField()
    superseded_at = fields.DatetimeField(null=True)
    withdrawn = fields.BooleanField()
    status = fields.TextField(null=True)
    #: When the exercise ended.
    ended_at = fields.DatetimeField(null=True)

    class Meta:
        table = "attendances"
        unique_together = (("account", "intervention_id", "user_id", "version"),)


class AccountCalendar(Model):
    """By which days an account's statuses were last reckoned."""

    id = fields.BigIntField(primary_key=True)
    account = fields.TextField()
    time_zone = fields.TextField()
    boundary = fields.IntField()

    class Meta:
        table = "account_calendars"
        unique_together = (("account",),)


class Drift(Model):
    """Where mirror and vendor disagreed: evidence of lost webhooks."""

    id = fields.BigIntField(primary_key=True)
    account = fields.TextField()
    subject = fields.TextField()
    #: schemas.states.DriftKind
    kind = fields.TextField()
    #: The names of the fields that differ.
    differing = fields.JSONField[list[str]](decoder=json.loads)
    run = fields.UUIDField()
    found_at = fields.DatetimeField()

    class Meta:
        table = "drifts"
        unique_together = (("run", "subject"),)
        indexes = (("account", "found_at"),)


class ReconcileRun(Model):
    """Runs of reconcile: how far, and what was found."""

    id = fields.UUIDField(primary_key=True)
    account = fields.TextField()
    #: The filter of its index.
    asked = fields.JSONField[dict[str, str]](decoder=json.loads)
    dry_run = fields.BooleanField()
    #: The mirror was still to be filled: what it did not have yet is no drift.
    backfill = fields.BooleanField()
    #: schemas.states.RunState
    state = fields.TextField()
    #: The how-manieth walk through the pages, and the page that is next in it; 0 when there is none.
    walk = fields.IntField()
    next_page = fields.IntField()
    #: How many rows the vendor says there are.
    total = fields.BigIntField(null=True)
    seen = fields.BigIntField()
    calls = fields.BigIntField()
    missing = fields.BigIntField()
    extra = fields.BigIntField()
    different = fields.BigIntField()
    unreadable = fields.BigIntField()
    began_at = fields.DatetimeField()
    step_at = fields.DatetimeField()
    ended_at = fields.DatetimeField(null=True)
    error = fields.TextField(null=True)
    #: Whose run it is, and until when it is nobody else's.
    holder = fields.UUIDField()
    lease_until = fields.DatetimeField(null=True)

    class Meta:
        table = "reconcile_runs"
        indexes = (("account", "began_at"),)


class ReconcileSeen(Model):
    """What an unfinished run saw at the vendor, a few pages a row."""

    id = fields.BigIntField(primary_key=True)
    run = fields.UUIDField()
    subjects = fields.JSONField[list[str]](decoder=json.loads)

    class Meta:
        table = "reconcile_seen"
        indexes = (("run",),)
