"""What runs again and again for an account, one worker at a time however many there are: a lease in the database."""

from tortoise import fields
from tortoise.models import Model


class Schedule(Model):
    """What runs again and again for an account, one worker at a time."""

    id = fields.BigIntField(primary_key=True)
    account = fields.TextField()
    name = fields.TextField()
    due_at = fields.DatetimeField()
    lease_until = fields.DatetimeField(null=True)
    holder = fields.UUIDField(null=True)
    last_began = fields.DatetimeField(null=True)
    last_success = fields.DatetimeField(null=True)
    failures = fields.IntField()
    error = fields.TextField(null=True)

    class Meta:
        table = "schedules"
        unique_together = (("account", "name"),)
