"""What is whose: everything by which one person is known here, and the rows that are theirs alone."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.accounts import Account
from schemas.states import RefreshKind, TargetKind
from workers.database import Connection, Dialect
from workers.followups.case import INITIAL
from workers.followups.directory import known, known_there
from workers.followups.identities import KINDS, PERSON, bearers, learner
from workers.followups.recording import Step
from workers.followups.tables import Enrollment, Identity, Need, NeedTarget, Recording
from workers.mirror.tables import ActionSubscription, CourseResult, Observation, SessionEnrollment
from workers.statements import run

Key = tuple[str, str]

#: The seats of one person; an exercise is an office's.
_PERSONAL = (TargetKind.COURSE, TargetKind.OBSERVATION, TargetKind.SESSION)


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a table whose `column` has one of the values, and `same` theirs."""

    table: str
    column: str
    values: Collection[Any]
    same: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody at 4HSE, with what is theirs."""

    account: str
    subscriber: str
    subscriptions: tuple[str, ...]
    certificates: tuple[str, ...]
    #: Who they are elsewhere, and where somebody else goes by the same id: what is kept of those is not theirs alone.
    learners: frozenset[Key]
    shared: frozenset[Key]
    needs: tuple[Any, ...]
    enrollments: tuple[Enrollment, ...]
    #: The subjects of events, of their results and of their subscriptions.
    results: tuple[str, ...]

    @property
    def ids(self) -> frozenset[Key]:
        """Every id by which a delivery or a fetch may tell of them."""
        here = {(self.account, one) for one in (self.subscriber, *self.subscriptions, *self.certificates)}
        return self.learners | here

    @property
    def keys(self) -> list[Key]:
        """Their subscriptions' keys."""
        return [(self.account, one) for one in self.subscriptions]

    @property
    def events(self) -> tuple[str, ...]:
        """The subjects of the events about their subscriptions."""
        return tuple(f"{self.account}/{one}" for one in self.subscriptions)

    def rows(self) -> Iterator[Rows]:
        """What is deleted, in an order that leaves nothing hanging."""
        here, seats = {"account": self.account}, [one.id for one in self.enrollments]
        yield Rows("followup_moves", "need", self.needs)
        yield Rows("followup_moves", "enrollment", seats)
        yield Rows("recordings", "need", self.needs)
        yield Rows("certified", "action_subscription_id", self.subscriptions, here)
        yield Rows("need_targets", "need", self.needs)
        yield Rows("needs", "id", self.needs)
        yield Rows("enrollments", "id", seats)
        yield Rows("identities", "here", (self.subscriber,), {"kind": PERSON})
        yield Rows("session_enrollments", "action_subscription_id", self.subscriptions, here)
        for account, who in sorted(self.learners):
            there = {"account": account}
            yield Rows("course_results", "learner", (who,), there)
            yield Rows("observations", "employee_id", (who,), there)
            yield Rows("refreshes", "subject", (who,), there | {"kind": RefreshKind.COURSE_RESULT.value})
        yield Rows("refreshes", "subject", (self.subscriber, *self.subscriptions, *self.certificates), here)
        yield Rows("drifts", "subject", self.subscriptions, here)
        yield Rows("outbox", "subject", self.results)
        yield Rows("event_sequences", "subject", self.results)


async def whose(
    connection: Connection, accounts: Mapping[str, Account], account: str, subscriber: str, recalled: frozenset[Key] = frozenset()
) -> Person:
    """What there is of somebody now; `recalled` are ids of theirs that nothing leads to any more."""
    rows = await ActionSubscription.filter(account=account, subscriber_id=subscriber).using_db(connection).values()
    subscriptions = sorted(row["action_subscription_id"] for row in rows)
    needs = await Need.filter(account=account, action_subscription_id__in=subscriptions).using_db(connection) if subscriptions else []
    served = await _served(connection, [need.id for need in needs])
    learners = await _learners(connection, accounts, subscriber, rows, served) | {one for one in recalled if one[0] != account}
    shared = frozenset({one for one in learners if await _anothers(connection, accounts, one, account, subscriber)})
    own = (learners - shared) | {(account, one) for one in subscriptions}
    return Person(
        account,
        subscriber,
        tuple(subscriptions),
        tuple(sorted(await _certificates(connection, rows, needs) | {one for name, one in recalled if name == account})),
        learners - shared,
        shared,
        tuple(sorted(need.id for need in needs)),
        tuple(sorted(await _seats(connection, own), key=lambda one: one.id)),
        tuple(sorted(await _results(connection, account, subscriptions, learners - shared))),
    )


async def _served(connection: Connection, needs: Collection[Any]) -> list[Enrollment]:
    """The enrollments that needs use or have used."""
    targets = NeedTarget.filter(need__in=needs, enrollment__isnull=False).using_db(connection)
    ids = await targets.values_list("enrollment", flat=True) if needs else []
    return await Enrollment.filter(id__in=ids).using_db(connection) if ids else []


async def _learners(
    connection: Connection, accounts: Mapping[str, Account], subscriber: str, rows: Collection[Any], served: Collection[Enrollment]
) -> frozenset[Key]:
    """Who they are in other accounts: by the table, by the accounts' templates, by the seats that they had."""
    table = Identity.filter(kind=PERSON, here=subscriber).using_db(connection)
    found = {(one.account, one.there) for one in await table}
    found |= {(one.account, one.learner) for one in served if one.kind in (TargetKind.COURSE, TargetKind.OBSERVATION)}
    mapped = await known(connection, accounts, [subscriber])
    for name, settings in accounts.items():
        if KINDS.get(settings.vendor) == PERSON:
            found |= {(name, who) for row in rows if (who := learner(TargetKind.COURSE, settings, row, mapped[name])) is not None}
    return frozenset(found)


async def _anothers(connection: Connection, accounts: Mapping[str, Account], who: Key, account: str, subscriber: str) -> bool:
    """Whether a learner is somebody else, too, as far as is known."""
    name, there = who
    if await Identity.filter(account=name, kind=PERSON, there=there).exclude(here=subscriber).using_db(connection).exists():
        return True
    settings = accounts.get(name)
    if settings is None or KINDS.get(settings.vendor) != PERSON:
        return False
    for columns in bearers(TargetKind.COURSE, settings, there, await known_there(connection, name, there)):
        others = ActionSubscription.filter(**columns, subscriber_id__isnull=False).using_db(connection)
        for row in await others.distinct().values(*{"account", "subscriber_id", "subscriber_type", *columns}):
            mapped = await known(connection, [name], [row["subscriber_id"]])
            other = (row["account"], row["subscriber_id"]) != (account, subscriber)
            if other and learner(TargetKind.COURSE, settings, row, mapped[name]) == there:
                return True
    return False


async def _certificates(connection: Connection, rows: Collection[Any], needs: Collection[Need]) -> set[str]:
    """The ids of certificates that are known to be theirs."""
    planned = Recording.filter(need__in=[need.id for need in needs], step=Step.CERTIFICATE.value).using_db(connection)
    written = await planned.values_list("remote", flat=True) if needs else []
    found = {row["last_certificate_id"] for row in rows} | {need.cycle for need in needs} | {str(one) for one in written}
    return {str(one) for one in found - {None, INITIAL}}


async def _seats(connection: Connection, own: Collection[Key]) -> list[Enrollment]:
    found = []
    for account, who in sorted(own):
        found += await Enrollment.filter(account=account, learner=who, kind__in=[kind.value for kind in _PERSONAL]).using_db(connection)
    return found


async def _results(connection: Connection, account: str, subscriptions: Collection[str], learners: Collection[Key]) -> set[str]:
    """The subjects of the events about their results (`workers.mirror.facts`)."""
    sessions = SessionEnrollment.filter(account=account, action_subscription_id__in=subscriptions).using_db(connection)
    ids = await sessions.values_list("action_session_subscription_id", flat=True) if subscriptions else []
    found = {f"{account}/session_enrollment/{one}" for one in ids}
    for name, who in learners:
        courses = (
            await CourseResult.filter(account=name, learner=who)
            .using_db(connection)
            .values_list("learner", "course", "activity", "attempt")
        )
        found |= {f"{name}/course_result/{'/'.join(map(str, one))}" for one in courses}
        observations = await Observation.filter(account=name, employee_id=who).using_db(connection).values_list("session_id", flat=True)
        found |= {f"{name}/observation/{one}" for one in observations}
    return found


#: Where ids stand that a mark may know.
_NAMED = (("refreshes", "subject"), ("enrollments", "learner"), ("course_results", "learner"), ("observations", "employee_id"))


async def recall(connection: Connection, dialect: Dialect, known: Callable[[Key], bool]) -> frozenset[Key]:
    """The ids that something stands under and that are `known`, whatever it was that led to them once."""
    found = set[Key]()
    for table, column in _NAMED:
        rows = await run(connection, dialect, f"SELECT DISTINCT account, {column} AS id FROM {table}")
        found |= {one for one in ((row["account"], row["id"]) for row in rows) if known(one)}
    return frozenset(found)
