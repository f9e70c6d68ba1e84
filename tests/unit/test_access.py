"""What ends access: which of an account's tokens an event leaves alone."""

from itertools import pairwise
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from infra.access import REMEMBER_SECONDS, Cut
from infra.tokens import LEEWAY_SECONDS, LONGEST_LIFE, Access

ACCOUNT = UUID(int=1)
SESSIONS = [UUID(int=2), UUID(int=3), UUID(int=4)]


def access(session_id: UUID, version: int) -> Access:
    return Access(
        account_id=ACCOUNT, session_id=session_id, version=version, scopes=frozenset(), token_id="t", expires_at=0
    )


def folded(kept: list[UUID | None], versions: list[int]) -> Cut:
    cut = Cut(versions[0], kept[0], 0, 0.0)
    for session_id, version in zip(kept[1:], versions[1:], strict=True):
        cut = cut.then(version, session_id, 0.0)
    return cut


@given(
    kept=st.lists(st.sampled_from([None, *SESSIONS[:2]]), min_size=1, max_size=6),
    steps=st.lists(st.integers(1, 3), min_size=6, max_size=6),
)
def test_a_token_ends_by_any_later_event_that_does_not_keep_its_session(
    kept: list[UUID | None], steps: list[int]
) -> None:
    versions = [sum(steps[: number + 1]) for number in range(len(kept))]
    assert all(before < after for before, after in pairwise(versions))
    cut = folded(kept, versions)
    for session_id in SESSIONS:
        for version in range(1, versions[-1] + 2):
            ends = any(at > version and who != session_id for at, who in zip(versions, kept, strict=True))
            assert cut.ends(access(session_id, version)) == ends, (session_id, version)


def test_what_ended_is_remembered_for_longer_than_any_token_lives() -> None:
    assert REMEMBER_SECONDS > LONGEST_LIFE + 2 * LEEWAY_SECONDS
