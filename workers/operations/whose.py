"""What is whose: everything by which one person is known here."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from schemas.accounts import Account
from schemas.states import TargetKind
from workers.database import Connection
from workers.erasures import Key
from workers.followups.case import INITIAL
from workers.followups.directory import known, known_there
from workers.followups.identities import KINDS, PERSON, bearers, learner
from workers.followups.recording import Step
from workers.followups.tables import Enrollment, Identity, Need, NeedTarget, Recording
from workers.mirror.tables import ActionSubscription, CourseResult, FormerHolder, Observation, SessionEnrollment

#: A shorter word, as a year is, may stand anywhere.
_LEAST = 6


@dataclass(frozen=True)
class Person:
    """Somebody at 4HSE, with what is theirs: ids each within an account, or, where one is nobody else's anywhere, within None."""

    account: str
    subscriber: str
    subscriptions: frozenset[Key]
    certificates: frozenset[Key]
    #: Who they are elsewhere, and where somebody else goes by the same id: what is kept of those is not theirs alone.
    learners: frozenset[Key]
    shared: frozenset[Key]
    needs: frozenset[tuple[None, Any]]
    enrollments: tuple[Enrollment, ...]
    #: The subjects of the events about their results.
    results: frozenset[tuple[None, str]]
    #: What they are called.
    names: frozenset[str]

    @property
    def people(self) -> frozenset[Key]:
        """Who they are at 4HSE."""
        return frozenset({(self.account, self.subscriber)})

    @property
    def here(self) -> frozenset[tuple[None, str]]:
        """The same, where another account is meant."""
        return frozenset({(None, self.subscriber)})

    @property
    def ids(self) -> frozenset[Key]:
        """Every id by which a delivery or a fetch may tell of them."""
        return self.learners | self.people | self.subscriptions | self.certificates

    @property
    def seats(self) -> frozenset[tuple[None, Any]]:
        """The ids of their enrollments."""
        return frozenset((None, one.id) for one in self.enrollments)

    @property
    def events(self) -> frozenset[tuple[None, str]]:
        """The subjects of the events about their subscriptions."""
        return frozenset((None, f"{account}/{one}") for account, one in self.subscriptions)

    @property
    def accounts(self) -> frozenset[tuple[None, str]]:
        """Where they are known."""
        return frozenset((None, account) for account, _ in self.ids | self.shared)

    @cached_property
    def words(self) -> frozenset[str]:
        """What names them wherever it stands; the ids of their subscriptions do not, once those are bare."""
        return self.names | {self.subscriber} | {one for _, one in self.learners | self.certificates if len(one) >= _LEAST}

    def named_in(self, text: str) -> bool:
        """Whether a text names them: whole words, for "17" is not in "2017"."""
        return bool(self._pattern.search(text))

    def is_named(self, value: Any) -> bool:
        """Whether a value from JSON is, or says, one of their ids or names."""
        text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
        return text in {one for _, one in self.ids} or self.named_in(text)

    def bared(self, text: str) -> str:
        """A text without the words that name them."""
        return self._pattern.sub("(erased)", text)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, sorted(self.words, key=len, reverse=True)))})(?!\w)")


async def whose(
    connection: Connection, accounts: Mapping[str, Account], account: str, subscriber: str, recalled: frozenset[Key] = frozenset()
) -> Person:
    """What there is of somebody now; `recalled` are ids of theirs that nothing leads to any more."""
    rows = await _shown(connection, account, subscriber)
    subscriptions = sorted({row["action_subscription_id"] for row in rows})
    needs = await Need.filter(account=account, action_subscription_id__in=subscriptions).using_db(connection) if subscriptions else []
    served = await _served(connection, [need.id for need in needs])
    learners = await _learners(connection, accounts, subscriber, rows, served) | {one for one in recalled if one[0] != account}
    shared = frozenset({one for one in learners if await _anothers(connection, accounts, one, account, subscriber)})
    own, theirs = learners - shared, frozenset((account, one) for one in subscriptions)
    return Person(
        account,
        subscriber,
        theirs,
        await _certificates(connection, account, rows, needs) | {one for one in recalled if one[0] == account},
        own,
        shared,
        frozenset((None, need.id) for need in needs),
        tuple(sorted(await _seats(connection, own | theirs), key=lambda one: one.id)),
        await _results(connection, account, subscriptions, own),
        frozenset(row["subscriber_name"] for row in rows if len(row["subscriber_name"] or "") >= _LEAST),
    )


async def _shown(connection: Connection, account: str, subscriber: str) -> list[Mapping[str, Any]]:
    """Their subscriptions as the mirror shows them, and what it has shown of them before, as far as that leads to somebody."""
    rows = await ActionSubscription.filter(account=account, subscriber_id=subscriber).using_db(connection).values()
    before = await FormerHolder.filter(account=account, subscriber_id=subscriber).using_db(connection).values()
    ids = {row["action_subscription_id"] for row in before}
    others = ActionSubscription.filter(account=account, action_subscription_id__in=ids, subscriber_id__isnull=False).using_db(connection)
    another = set(await others.exclude(subscriber_id=subscriber).values_list("action_subscription_id", flat=True)) if ids else set()
    about = {"subscriber_type": "PERSON", "subscriber_name": None}
    return [*rows, *(row | about for row in before if row["action_subscription_id"] not in another)]


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


async def _certificates(connection: Connection, account: str, rows: Collection[Any], needs: Collection[Need]) -> frozenset[Key]:
    """The certificates that are known to be theirs."""
    planned = Recording.filter(need__in=[need.id for need in needs], step=Step.CERTIFICATE.value).using_db(connection)
    written = await planned.values_list("remote", flat=True) if needs else []
    found = {row["last_certificate_id"] for row in rows} | {need.cycle for need in needs} | {str(one) for one in written}
    return frozenset((account, str(one)) for one in found - {None, "", INITIAL})


async def _seats(connection: Connection, own: Collection[Key]) -> list[Enrollment]:
    found = []
    for account, who in sorted(own):
        found += await Enrollment.filter(account=account, learner=who).exclude(kind=TargetKind.EXERCISE).using_db(connection)
    return found


async def _results(
    connection: Connection, account: str, subscriptions: Collection[str], learners: Collection[Key]
) -> frozenset[tuple[None, str]]:
    """The subjects of the events about their results (`workers.mirror.facts`)."""
    sessions = SessionEnrollment.filter(account=account, action_subscription_id__in=subscriptions).using_db(connection)
    ids = await sessions.values_list("action_session_subscription_id", flat=True) if subscriptions else []
    found = {f"{account}/session_enrollment/{one}" for one in ids}
    for name, who in learners:
        courses = CourseResult.filter(account=name, learner=who).using_db(connection)
        for one in await courses.values_list("learner", "course", "activity", "attempt"):
            found.add(f"{name}/course_result/{'/'.join(map(str, one))}")
        observations = await Observation.filter(account=name, employee_id=who).using_db(connection).values_list("session_id", flat=True)
        found |= {f"{name}/observation/{one}" for one in observations}
    return frozenset((None, one) for one in found)
