"""Duties of other kinds, beside those that lead to a course, each with a life of its own: `kinds` has a row for each kind."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from string import Template

from tests.faults import kinds
from tests.faults.kinds import KINDS, Duty, Fate, Vendors
from tests.faults.rows import Row

SETTINGS = Template("""
[accounts.kare]
vendor = "kare"
base_url = "$kare"
insecure = true
token_file = "$key"
session_token_file = "$key"
limits = $limits
learner = "{subscriber_code}"
polls = { attendance = "2s" }
[accounts.ispring]
vendor = "ispring"
base_url = "$ispring"
insecure = true
account_url = "$ispring"
client_id = "muster"
client_secret_file = "$key"
limits = $limits
learner = "{subscriber_code}"
polls = { observations = "2s" }
[[rules]]
name = "classroom"
when = { account = "hse", action_code = "CLS-*" }
enroll = { account = "hse", session = "next", within = "90d" }
undo = "unsubscribe"
record = {}
max_per_hour = 1000000
[[rules]]
name = "drill"
when = { account = "hse", action_code = "DRL-*" }
exercise = { account = "kare", rule_id = 7, start = "+14d 10:00", length = "1h" }
undo = "unsubscribe"
record = {}
max_per_hour = 1000000
[[rules]]
name = "observation"
when = { account = "hse", action_code = "SCF-*" }
observe = { account = "ispring", checklist = "$checklist", result = 80, total_points = 30 }
record = {}
max_per_hour = 1000000
[[rules]]
name = "chain"
when = { account = "hse", action_code = "CHN-*" }
enroll = [{ account = "lms", course = "$first" }, { account = "lms", course = "$second", after = "$first" }]
pass = { grade = 80 }
undo = "unsubscribe"
record = {}
max_per_hour = 1000000
""")
RULES = tuple(KINDS)


@dataclass(frozen=True, slots=True)
class Happened:
    """What happened at the vendors for one duty; `vendor` is what its kind looks at."""

    certificates: int
    links: int
    vendor: object


@dataclass(slots=True)
class Others:
    """Everybody's duties."""

    vendors: Vendors
    duties: list[Duty] = field(default_factory=list)
    _lives: set[asyncio.Task[None]] = field(default_factory=set)

    def begin(self) -> None:
        """What they are about."""
        kinds.begin(self.vendors)

    def hire(self) -> None:
        """One more duty; its life goes on by itself."""
        rng = self.vendors.rng
        kind = rng.choice(tuple(KINDS.values()))
        one = kind.hire(self.vendors, len(self.duties), rng.choices(list(Fate), weights=(5, 1, 2))[0])
        self.duties.append(one)
        self._lives.add(asyncio.create_task(self._live(one)))

    def end(self) -> None:
        """End it."""
        for life in self._lives:
            life.cancel()

    def told(self) -> str:
        """How many of each kind, and of each fate."""
        counts = Counter(f"{one.kind} {one.fate}" for one in self.duties)
        return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))

    async def _live(self, one: Duty) -> None:
        await KINDS[one.kind].live(self.vendors, one)
        if one.fate is Fate.ENDS:
            await asyncio.sleep(self.vendors.rng.uniform(0.0, 6.0))
            self.vendors.tenancy.historicize(one.subscription)
        one.over = True

    def happened(self, one: Duty) -> Happened:
        """Look at the vendors."""
        certificates = self.vendors.certificates(one)
        links = [row for row in self.vendors.tenancy.tables["certificate-action"].values() if row["certificate_id"] in certificates]
        return Happened(len(certificates), len(links), KINDS[one.kind].happened(self.vendors, one))


def problems(one: Duty, row: Row, what: Happened) -> list[str]:
    """What is otherwise than it was meant, each as a sentence."""
    meant, ended = KINDS[one.kind].meant(one), one.fate is Fate.ENDS
    # Once at the vendor, whichever kind it is.
    made = [Happened(one.passes, one.passes, vendor) for vendor in meant.vendor]
    needs = "undone" if ended else "valid" if one.passes else "failed"
    rows: list[object] = [((needs,), enrollments) for enrollments in meant.enrollments]
    # What was ended before anybody had seen it is needed by nobody.
    rows += [((), ())] if ended and not one.before else []
    shown: list[object] = [(row.state, row.status)] if ended else [("live", "VALID" if one.passes else "NEW")]
    held: dict[str, tuple[object, Sequence[object]]] = {
        "its vendors say": (what, made),
        "its rows say": ((row.needs, row.enrollments), rows),
        "the mirror's row says": ((row.state, row.status), shown),
    }
    told = [f"{who} {is_}, not {may}" for who, (is_, may) in held.items() if is_ not in may]
    return [f"{one.subscription} ({one.kind}, {one.fate}, {one.learner or one.exercises}, {one.before}): {sentence}" for sentence in told]
