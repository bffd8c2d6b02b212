"""What is done at a vendor for an enrollment, an adapter a kind of target. An observation has none: there is nothing to enroll in."""

from collections.abc import Mapping

from schemas.states import TargetKind
from workers.followups.targets import course, exercise, session
from workers.followups.targets.adapter import Adapter

TARGETS: Mapping[TargetKind, Adapter] = {
    TargetKind.COURSE: Adapter("anewspring", course.look, course.request, course.undo),
    TargetKind.SESSION: Adapter("4hse", session.look, session.request, session.undo),
    TargetKind.EXERCISE: Adapter("kare", exercise.look, exercise.request, exercise.undo),
}
