"""Which checkpoints stay, against an obvious version."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reactdist.checkpoints.keep import to_remove

scores = st.dictionaries(
    st.integers(0, 50), st.none() | st.floats(-5, 5) | st.just(float("nan")), max_size=12
)


@given(scores, st.integers(0, 4), st.sets(st.integers(0, 50), max_size=3))
def test_latest_best_and_promoted_stay_and_nothing_else(
    scores: dict[int, float | None], keep_best: int, promoted: set[int]
) -> None:
    gone = set(to_remove(scores, keep_best=keep_best, protected=promoted))
    stay = set(scores) - gone
    ranked = sorted(
        (s for s, v in scores.items() if v is not None and v == v),
        key=lambda s: (scores[s], s),
        reverse=True,
    )
    expected = set(ranked[:keep_best]) | (promoted & set(scores))
    if scores:
        expected.add(max(scores))
    assert stay == expected
