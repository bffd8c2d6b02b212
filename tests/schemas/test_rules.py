"""Rules: the issue's own five, what cannot work, and when a condition holds."""

import json
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.mistakes import Mistake, SettingsError
from schemas.reader import Role, load, rule_places
from schemas.rules import Rule, When, exercise_start, matches
from schemas.states import TargetKind

FIVE = """\
[[rules]]                        # e-learning, with its refresher
name   = "fire-basics"
when   = { account = "hse", action_code = "FST-*", status = ["NEW", "EXPIRING", "EXPIRED"] }
enroll = { account = "lms", course = "FIRE-BASIC", due = "30d", expire = "60d", again = "resubscribe" }
pass   = { grade = 80 }
fail   = { wait = "7d", attempts = 3 }
undo   = "unsubscribe"           # or "expire", "keep"
record = { certificate = "{action_name}" }

[[rules]]                        # a chain, then one certificate, approved by a person
name   = "fire-advanced"
when   = { action_code = "FSA-02", status = ["NEW", "EXPIRED"] }
enroll = [{ account = "lms", course = "A" }, { account = "lms", course = "B", after = "A" }]
record = { certificate = "{action_name}", approve = true }

[[rules]]                        # classroom: the trainer enters the outcome in 4HSE
name   = "first-aid"
when   = { action_code = "FA-*", status = ["NEW", "EXPIRING"] }
enroll = { account = "hse", session = "next", within = "90d" }

[[rules]]                        # on the job: nothing to enroll in, an observation is awaited
name    = "scaffold-check"
when    = { action_code = "SCF-01" }
observe = { account = "ispring", checklist = "3fa85f64-5717-4562-b3fc-2c963f66afa6", result = 80, total_points = 30 }
record  = { certificate = "{action_name}" }

[[rules]]                        # one exercise an office, not one a person
name     = "fire-drill"
when     = { action_code = "DRILL", subscriber_type = "OFFICE", status = ["NEW", "EXPIRING"] }
exercise = { account = "kare", rule_id = 7, start = "+14d 10:00", length = "1h", assigned_user = 12 }
record   = { certificate = "Drill {date}" }
"""
ACCOUNTS = """
[accounts.hse]
vendor = "4hse"
access_token_file = "key"
[accounts.lms]
vendor = "anewspring"
base_url = "https://acme.anewspring.com"
api_key_file = "key"
[accounts.ispring]
vendor = "ispring"
account_url = "https://acme.ispringlearn.com"
client_id = "c"
client_secret_file = "key"
[accounts.kare]
vendor = "kare"
base_url = "https://api.example.com/main"
token_file = "key"
session_token_file = "key"
"""
ROW = {
    "account": "hse",
    "state": "live",
    "action_type": "TRAINING",
    "action_code": "FST-01",
    "subtenant_id": "o1",
    "office_name": "Rome",
    "tenant_id": "t1",
    "project_name": "Acme",
    "subscriber_type": "PERSON",
    "status": "NEW",
    "owned_active": True,
    "parent_active": None,
    "data": {"department": "Production", "night": True, "level": 1},
}
SEAT = {"account": "lms", "course": "FIRE"}


def rule(**said: Any) -> Rule:
    """A rule that is fine, or what `said` makes of it."""
    return Rule.model_validate({"name": "x", "when": {}, "enroll": SEAT} | said)


@pytest.fixture
def mistakes(tmp_path: Path) -> Callable[[str], dict[str, Mistake]]:
    """What is wrong in rules, by path; the accounts stand below them, so that the text's first line is the file's."""

    def mistakes_(rules: str, accounts: str = ACCOUNTS) -> dict[str, Mistake]:
        path = tmp_path / "muster.toml"
        path.write_text(rules + accounts)
        with pytest.raises(SettingsError) as caught:
            load(path, Role.WORKER, {})
        return {one.path: one for one in caught.value.mistakes}

    return mistakes_


Mistakes = Callable[[str], dict[str, Mistake]]


def test_the_issues_five_rules_load_as_they_stand(tmp_path: Path) -> None:
    (tmp_path / "muster.toml").write_text(FIVE + ACCOUNTS)

    found = load(tmp_path / "muster.toml", Role.WORKER, {}).rules

    assert [one.name for one in found] == ["fire-basics", "fire-advanced", "first-aid", "scaffold-check", "fire-drill"]
    assert [[target.kind for target in one.targets()] for one in found] == [
        [TargetKind.COURSE],
        [TargetKind.COURSE, TargetKind.COURSE],
        [TargetKind.SESSION],
        [TargetKind.OBSERVATION],
        [TargetKind.EXERCISE],
    ]
    basics, advanced, aid, check, drill = found
    assert basics.targets()[0].terms == {"due_days": 30, "expire_days": 60, "start_days": None, "again": "resubscribe", "score": None}
    assert (basics.pass_.grade, basics.fail.wait.days, basics.fail.attempts, basics.undo, basics.max_per_hour) == (
        80,
        7,
        3,
        "unsubscribe",
        500,
    )
    assert [(one.target, one.after) for one in advanced.targets()] == [("A", None), ("B", "A")]
    assert advanced.record is not None
    assert (advanced.record.approve, advanced.undo, advanced.fail.attempts) == (True, "keep", 1)
    assert (aid.targets()[0].account, aid.targets()[0].target, aid.targets()[0].terms["within_days"]) == ("hse", "next", 90)
    assert aid.record is None
    assert (check.targets()[0].target, check.when.status) == ("3fa85f64-5717-4562-b3fc-2c963f66afa6", ("NEW", "EXPIRING", "EXPIRED"))
    assert {"result": 80, "total_points": 30}.items() <= check.targets()[0].terms.items()
    assert (drill.targets()[0].target, drill.targets()[0].terms["length_minutes"]) == ("rule 7", 60)
    assert exercise_start(drill.targets()[0].terms["start"])[0] == 14


@pytest.mark.parametrize("number", range(5))
def test_a_snapshot_gives_the_same_rule_back_through_json(number: int) -> None:
    made = Rule.model_validate(tomllib.loads(FIVE)["rules"][number])
    back = Rule.from_snapshot(json.loads(json.dumps(made.snapshot())))

    assert back == made
    assert back.digest == made.digest


def test_the_digest_changes_with_what_is_said_and_not_with_how() -> None:
    said = rule(fail={"wait": "24h", "attempts": 2})

    assert said.digest == rule(fail={"attempts": 2, "wait": "1d"}, undo="keep", max_per_hour=500).digest
    others = [rule(), rule(name="y"), rule(undo="expire"), rule(enroll=SEAT | {"due": "1d"}), rule(when={"action_code": "A"})]
    assert len({one.digest for one in [said, *others]}) == 6


@pytest.mark.parametrize(
    "said",
    [
        {"enroll": None},
        {"observe": {"account": "i", "checklist": "c"}},
        {"enroll": {"account": "lms"}},
        {"enroll": SEAT | {"session": "next"}},
        {"enroll": []},
        {"enroll": SEAT | {"within": "3d"}},
        {"enroll": {"account": "hse", "session": "next", "expire": "3d"}},
        {"enroll": SEAT | {"due": "12h"}},
        {"enroll": SEAT | {"start": "9d", "expire": "3d"}},
        {"undo": "forget"},
        {"record": {"certificate": "{first_name}"}},
        {"record": {"certificate": "{action_name.__class__}"}},
        {"record": {"validity": "5 years"}},
        {"pass": {"grade": 101}},
        {"when": {"status": "LATE"}},
        {"when": {"colour": "red"}},
        {"max_per_hour": 0},
        {"name": "a b"},
        {"enroll": None, "exercise": {"account": "k", "rule_id": 7, "start": "tomorrow", "length": "1h"}},
        {"enroll": None, "exercise": {"account": "k", "rule_id": 7, "start": "+1d 25:00", "length": "1h"}},
        {"enroll": None, "exercise": {"account": "k", "rule_id": 7, "start": "+1d 10:00", "length": "30s"}},
    ],
)
def test_what_is_no_rule_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        rule(**said)


def test_a_mistake_names_the_rule_and_its_line(mistakes: Mistakes) -> None:
    found = mistakes(FIVE.replace('due = "30d"', 'due = "soon"').replace("rule_id = 7", 'rule_id = "7a"'))

    assert set(found) == {"rules.fire-basics.enroll.due (line 1)", "rules.fire-drill.exercise.rule_id (line 27)"}


def test_mistakes_that_only_the_whole_shows_name_rule_and_line_too(mistakes: Mistakes) -> None:
    found = mistakes(
        FIVE.replace('undo   = "unsubscribe"', 'undo   = "expire"').replace(
            'account = "lms", course = "FIRE', 'account = "x", course = "FIRE'
        )
    )

    assert set(found) == {"rules.fire-basics.enroll.account (line 1)"}
    assert found["rules.fire-basics.enroll.account (line 1)"].problem == "no account x is configured"


def test_a_list_in_one_piece_has_no_lines(mistakes: Mistakes) -> None:
    found = mistakes('rules = [{ name = "a", when = {}, enroll = { account = "lms" } }]\n')

    assert set(found) == {"rules.a.enroll"}


@pytest.mark.parametrize(
    ("said", "path", "problem"),
    [
        ('enroll = { account = "ispring", course = "A" }', "enroll.account", "a course needs anewspring"),
        ('enroll = { account = "lms", session = "next" }\nwhen.account = "lms"', "enroll.account", "a session needs 4hse"),
        ('exercise = { account = "nobody", rule_id = 7, start = "+1d 10:00", length = "1h" }', "exercise.account", "no account nobody"),
        (
            'enroll = { account = "lms", course = "A" }\nwhen.subscriber_type = ["PERSON", "EQUIPMENT"]',
            "when.subscriber_type",
            "no EQUIPMENT",
        ),
        ('enroll = { account = "lms", course = "A" }\nwhen.action_type = "MAINTENANCE"', "when.action_type", "MAINTENANCE is for none"),
        ('observe = { account = "ispring", checklist = "c" }\nwhen.subscriber_type = "OFFICE"', "when.subscriber_type", "no OFFICE"),
        ('observe = { account = "ispring", checklist = "c" }\nundo = "unsubscribe"', "undo", "nothing that can be done to observations"),
        ('enroll = { account = "hse", session = "next" }\nundo = "expire"', "undo", "nothing that can be done to sessions"),
        ('exercise = { account = "kare", rule_id = 7, start = "+1d 10:00", length = "1h" }\nundo = "expire"', "undo", "to exercises"),
        (
            'exercise = { account = "kare", rule_id = 7, start = "+1d 10:00", length = "1h" }\nwhen.subscriber_type = ["OFFICE", "PERSON"]',
            "when.subscriber_type",
            "an exercise is an office's",
        ),
        (
            'enroll = [{ account = "lms", course = "A", after = "B" }, { account = "lms", course = "B" }]',
            "enroll.after",
            "no earlier target is B",
        ),
        ('enroll = [{ account = "lms", course = "A" }, { account = "lms", course = "A" }]', "enroll", "A is there twice"),
        ('enroll = { account = "lms", course = "A", expire = "9999y" }', "enroll.expire", "3649635d is too long"),
        ('enroll = { account = "lms", course = "A" }\nfail.wait = "101y"', "fail.wait", "36865d is too long"),
        ('enroll = { account = "lms", course = "A" }\nrecord.validity = "9999 YEAR"', "record.validity", "3649635d is too long"),
        ('enroll = { account = "hse", session = "next" }\npass.grade = 80', "pass.grade", "a mark is for a course"),
        ('enroll = { account = "lms", course = "A" }\nwhen.account = "other"', "when.account", "other is no configured account of 4HSE's"),
    ],
)
def test_what_cannot_work_is_refused_with_the_rules_name_and_line(mistakes: Mistakes, said: str, path: str, problem: str) -> None:
    when = "" if "when." in said else "when = {}\n"
    found = mistakes(f'\n\n[[rules]]\nname = "r"\n{when}{said}\n')

    assert f"rules.r.{path} (line 3)" in found
    assert problem in found[f"rules.r.{path} (line 3)"].problem


def test_a_session_needs_its_own_account_named_where_there_are_several(mistakes: Mistakes) -> None:
    text = '[[rules]]\nname = "r"\nwhen = {}\nenroll = { account = "hse", session = "next" }\n'
    second = '[accounts.second]\nvendor = "4hse"\naccess_token_file = "key"\n'

    assert set(mistakes(text + second)) == {"rules.r.when.account (line 1)"}


def test_two_rules_of_one_name_are_refused(mistakes: Mistakes) -> None:
    one = '[[rules]]\nname = "r"\nwhen = {}\nenroll = { account = "lms", course = "A" }\n'

    assert set(mistakes(one * 2)) == {"rules.r.name (line 5)"}


def test_a_receiver_reads_no_rules(tmp_path: Path) -> None:
    (tmp_path / "muster.toml").write_text('[[rules]]\nname = "broken"\n')

    assert load(tmp_path / "muster.toml", Role.RECEIVER, {}).rules == ()


def test_rules_can_be_found_in_their_file(tmp_path: Path) -> None:
    (tmp_path / "muster.toml").write_text(FIVE)

    assert rule_places(tmp_path / "muster.toml", {})["first-aid"] == "rules.first-aid (line 16)"


def holds(when: Mapping[str, Any], **changed: Any) -> list[str]:
    """Why a condition does not hold for a row."""
    return matches(When.model_validate(when), ROW | changed)


@pytest.mark.parametrize(
    "when",
    [
        {},
        {"action_code": "FST-*"},
        {"action_code": ["X", "FST-0[12]"]},
        {"account": "hse"},
        {"action_type": "TRAINING"},
        {"office": "o1"},
        {"office": ["Milan", "Rome"]},
        {"project": "Acme"},
        {"subscriber_type": "PERSON"},
        {"status": "NEW"},
        {"data": {"department": "Production", "night": True, "level": [1, 2]}},
    ],
)
def test_it_holds(when: dict[str, Any]) -> None:
    assert holds(when) == []


@pytest.mark.parametrize(
    ("when", "changed", "reason"),
    [
        ({"action_code": "fst-*"}, {}, "action_code is FST-01, not fst-*"),
        ({"action_code": "FST-*"}, {"action_code": None}, "action_code is not known, not FST-*"),
        ({"account": "other"}, {}, "account is hse, not other"),
        ({"action_type": ["HEALTH", "PER"]}, {}, "action_type is TRAINING, not HEALTH or PER"),
        ({"office": "Ro*"}, {}, "office is Rome, not Ro*"),
        ({"project": "t2"}, {}, "project is Acme, not t2"),
        ({"subscriber_type": "OFFICE"}, {}, "subscriber_type is PERSON, not OFFICE"),
        ({}, {"status": "VALID"}, "status is VALID, not NEW or EXPIRING or EXPIRED"),
        ({}, {"status": None}, "status is not known, not NEW or EXPIRING or EXPIRED"),
        ({"data": {"department": "Sales"}}, {}, "data.department is not Sales"),
        ({"data": {"level": True}}, {}, "data.level is not True"),
        ({"data": {"level": 1}}, {"data": None}, "data.level is not 1"),
        ({}, {"state": "missing"}, "it is missing"),
        ({}, {"state": "deleted"}, "it is deleted"),
        ({}, {"owned_active": False}, "it is inactive (historicized)"),
        ({}, {"parent_active": 0}, "it is inactive (historicized)"),
    ],
)
def test_it_does_not_hold_and_says_why(when: dict[str, Any], changed: dict[str, Any], reason: str) -> None:
    assert holds(when, **changed) == [reason]


def test_a_rule_that_leads_to_an_lms_speaks_of_persons_only() -> None:
    equipment = ROW | {"subscriber_type": "EQUIPMENT"}
    session = {"enroll": {"account": "hse", "session": "next"}}

    assert matches(rule().when, equipment) == ["subscriber_type is EQUIPMENT, not PERSON"]
    assert matches(rule(enroll=None, observe={"account": "i", "checklist": "c"}).when, equipment) != []
    assert matches(rule(**session).when, equipment) == []


def test_a_rule_that_leads_to_an_exercise_speaks_of_offices_only() -> None:
    drill = rule(enroll=None, exercise={"account": "k", "rule_id": 7, "start": "+1d 10:00", "length": "1h"})

    assert matches(drill.when, ROW) == ["subscriber_type is PERSON, not OFFICE"]
    assert matches(drill.when, ROW | {"subscriber_type": "OFFICE"}) == []
