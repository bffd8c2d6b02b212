"""The story that `muster demo` tells: what happens at the vendors, and what muster knows then that it did not know before, and why."""

from workers.cli.story import plays, proofs
from workers.cli.story.scene import Step

STEPS = (
    Step("the operator says yes to a rule", "rules apply", proofs.applied, plays.apply),
    Step("4HSE: a person owes a fire safety training", "webhook, then the API", proofs.subscription("live", "NEW"), plays.subscribe),
    Step("  so the rule enrolls them in the course", "rule", proofs.enrolled),
    Step("the same webhook comes again: harmless", "webhook", proofs.repeated, plays.repeat),
    Step("somebody without the token wants it deleted: 401", "webhook", proofs.refused, plays.forge),
    Step("a body without its subscriber: kept, with a reason", "webhook", proofs.dead, plays.maim),
    Step(
        "aNewSpring: the course is completed",
        "webhook, then the API",
        proofs.result("course_result", grade=67.0, completed=True),
        plays.complete,
    ),
    Step("  so 4HSE gets the certificate, and shows it", "rule, then the API", proofs.subscription("live", "VALID")),
    Step("  and the need is met", "rule", proofs.met),
    Step(
        "iSpring Learn: an observation, of which no webhook tells",
        "poll",
        proofs.result("observation", "observations", status="PASSED", result=60.0),
        plays.observe,
    ),
    Step("Kare: an exercise was attended", "poll", proofs.result("attendance", "attendance", status="present"), plays.attend),
    Step("4HSE: a colleague owes it too, and the webhook is lost", "reconcile", proofs.found, plays.lose),
    Step("almost five years pass", "clock", proofs.subscription("live", "EXPIRING"), plays.pass_years),
    Step("  so the rule enrolls them again", "rule", proofs.enrolled),
    Step("4HSE: the duty is deleted", "webhook, then the API", proofs.subscription("deleted"), plays.delete),
    Step("  so they are unsubscribed", "rule", proofs.undone),
    Step("a late CREATE does not bring it back", "webhook, then the API", proofs.still_deleted, plays.repeat),
)
