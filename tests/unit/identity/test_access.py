"""What ends access: which of an account's tokens an event leaves alone."""

from functools import reduce
from itertools import pairwise
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from domain.accounts import (
    MOST_REMEMBERED,
    AccountApiKeyRevoked,
    AccountProfileChanged,
    AccountSessionEnded,
    EndedBy,
    Endings,
    Revocation,
    ending,
)
from domain.registry import EVENTS
from infra.event_codec import CODEC
from infra.eventsourcing.store import AppendRequest, StreamAppend
from infra.identity.access_news import endings_in
from infra.identity.access_tokens import LEEWAY_SECONDS, LONGEST_LIFE
from infra.identity.revocations import REMEMBER_SECONDS, TYPES
from tests.golden.expected import EXPECTED

ACCOUNT = UUID(int=1)
SESSIONS = [UUID(int=2), UUID(int=3), UUID(int=4)]


@given(
    kept=st.lists(st.sampled_from([None, *SESSIONS[:2]]), min_size=1, max_size=6),
    steps=st.lists(st.integers(1, 3), min_size=6, max_size=6),
    heard=st.data(),
)
def test_a_token_ends_by_any_later_event_that_does_not_keep_its_session_in_whatever_order_they_are_heard_of(
    kept: list[UUID | None], steps: list[int], heard: st.DataObject
) -> None:
    versions = [sum(steps[: number + 1]) for number in range(len(kept))]
    assert all(before < after for before, after in pairwise(versions))
    cuts = [Revocation(version, session_id) for version, session_id in zip(versions, kept, strict=True)]
    order = heard.draw(st.permutations(cuts + cuts[:2]))
    cut = reduce(Revocation.then, order, Revocation())
    for session_id in SESSIONS:
        for version in range(1, versions[-1] + 2):
            ends = any(at > version and who != session_id for at, who in zip(versions, kept, strict=True))
            assert cut.ends(session_id, version) == ends, (session_id, version)


def session_ended(session_id: UUID) -> AccountSessionEnded:
    return AccountSessionEnded(account_id=ACCOUNT, session_id=session_id, by=EndedBy.OWNER)


def test_an_account_remembers_so_many_endings_and_trusts_no_token_from_before_the_others() -> None:
    endings = Endings()
    ended = [UUID(int=100 + number) for number in range(MOST_REMEMBERED + 3)]
    for version, session_id in enumerate(ended, 2):
        endings = endings.then(version, session_ended(session_id))
    assert len(endings.last) == MOST_REMEMBERED
    assert not any(endings.of(session_id) for session_id in ended[:3])
    assert all(endings.of_token(session_id, 99) for session_id in ended[3:])
    assert endings.of_token(SESSIONS[0], 3), "perhaps it was the third of those forgotten"
    assert not endings.of_token(SESSIONS[0], 4)
    assert all(endings.of_token(session_id, version) for version, session_id in enumerate(ended, 1))


def test_no_key_comes_back_to_life_however_many_sessions_end_after_it() -> None:
    revoked = AccountApiKeyRevoked(account_id=ACCOUNT, key_id=SESSIONS[0])
    endings = Endings().then(2, revoked)
    for version in range(3, 3 * MOST_REMEMBERED):
        endings = endings.then(version, session_ended(UUID(int=version)))
    assert endings.of(SESSIONS[0])
    assert endings.keys_forgotten == 0
    for version in range(500, 500 + MOST_REMEMBERED):
        endings = endings.then(version, AccountApiKeyRevoked(account_id=ACCOUNT, key_id=UUID(int=version)))
    assert (endings.of(SESSIONS[0]), endings.keys_forgotten) == (False, 2)


def test_what_is_followed_is_what_ends_something() -> None:
    ends = {kind for (kind, _), event in EXPECTED.items() if ending(2, event) is not None}
    assert ends == set(TYPES) <= EVENTS.keys()


def test_of_a_commit_those_events_are_told_that_end_access_each_with_its_version() -> None:
    revoked = AccountApiKeyRevoked(account_id=ACCOUNT, key_id=SESSIONS[0])
    said = AccountProfileChanged(account_id=ACCOUNT, full_name=None, bio="x")
    events = [CODEC.encode(each) for each in (said, revoked, session_ended(SESSIONS[1]))]
    requests = [
        AppendRequest(
            [
                StreamAppend(UUID(int=9), "order", 0, 3, [CODEC.encode(revoked)]),
                StreamAppend(ACCOUNT, "account", 0, 7, events),
            ]
        ),
        AppendRequest([StreamAppend(ACCOUNT, "account", 0, 10)]),
    ]
    found = [(stored.account_id, stored.version, stored.type) for stored in endings_in(requests)]
    assert found == [(ACCOUNT, 9, "account.api_key_revoked"), (ACCOUNT, 10, "account.session_ended")]


def test_what_ended_is_remembered_for_longer_than_any_token_lives() -> None:
    assert REMEMBER_SECONDS > LONGEST_LIFE + 2 * LEEWAY_SECONDS
