"""The keys of a candidate in a study."""

from search.store.records import Keys
from search.study import StudySpec
from spaces.candidate import Candidate


def keys_of(candidate: Candidate, study: StudySpec) -> Keys:
    """Under what the candidate, its weights and its costs are known."""
    context = study.context()
    return Keys(
        key=candidate.key(context),
        train_key=candidate.train_key(context),
        recipe_key=candidate.recipe_key(study.cost_context()),
    )
