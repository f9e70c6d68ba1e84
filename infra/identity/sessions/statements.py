"""The statements that sessions are kept by: what is locked, and in which order."""

from datetime import timedelta
from typing import Any, Final

import sqlalchemy as sa

from infra.postgres.retention import Retention
from infra.postgres.statements import NOW, TIMESTAMPTZ, Statement, any_of, given_rows, inline
from infra.postgres.tables.identity import credentials, refresh_tokens, sessions

LIFE_DAYS: Final = 30
"""How long a session lives without being used; and so does what is known of a token that was used."""
GRACE_SECONDS: Final = 120
"""How long a used token is taken for one whose answer was lost: longer than a server takes to fail over.

Not for ever: within the grace a thief and the owner who take turns are both given the one chain. It is a fraction of
the life of an access token, so whoever was answered has no need to come back in it.
"""
MOST_LIVE: Final = 100
"""Sessions of one account. Beyond that the least recently used give way."""
_LIFE: Final = timedelta(days=LIFE_DAYS)
ENDED_FOR: Final = timedelta(days=1)
"""How long a session that is over is known still, so that a late replay is known as one."""

_account: Final = sa.bindparam("account", type_=sa.Uuid)
_version: Final = sa.bindparam("version", type_=sa.Integer)
_digest: Final = sa.bindparam("digest", type_=sa.LargeBinary)
_successor: Final = sa.bindparam("successor", type_=sa.LargeBinary)
_client: Final = {name: sa.bindparam(name, type_=sa.Text) for name in ("user_agent", "source")}
_known: Final = [sessions.c[name] for name in ("session_id", "account_id", "password_no", "account_version", "scope")]
_goes_on: Final = sessions.c.ended_at.is_(None) & (sessions.c.expires_at > NOW)


def _begin() -> Statement:
    # The share lock makes whatever ends the account's sessions wait for this one, and so find it; and what has ended
    # them already is seen in the row. So no session outlives its void, however late it begins.
    holder = (
        sa.select(credentials.c.account_id, credentials.c.password_no)
        .where(credentials.c.account_id == _account, credentials.c.password_no == sa.bindparam("password_no"))
        .where(credentials.c.sessions_from <= _version)
        .with_for_update(read=True)
        .subquery("holder")
    )
    row = {
        "session_id": sa.bindparam("session", type_=sa.Uuid),
        "account_id": holder.c.account_id,
        "password_no": holder.c.password_no,
        "scope": sa.bindparam("scope", type_=sa.Text),
        **_client,
        "expires_at": NOW + _LIFE,
        "account_version": _version,
    }
    begun = sa.insert(sessions).from_select([*row], sa.select(*row.values())).returning(sessions.c.session_id)
    begun_ = begun.cte("begun")
    token = sa.select(_digest, begun_.c.session_id)
    first = sa.insert(refresh_tokens).from_select(["digest", "session_id"], token)
    return Statement(first.returning(refresh_tokens.c.session_id).add_cte(_tidied(begun_)))


def _tidied(begun: sa.CTE) -> sa.CTE:
    """What is over gives way in the same statement: tokens go with their sessions, and those that ended are kept for a
    day, as :data:`OLD` has it. Several sessions are locked in the order of their ids, everywhere.
    """
    others = sessions.alias("others")
    beyond = sa.select(others.c.session_id).where(others.c.account_id == _account, others.c.ended_at.is_(None))
    beyond = beyond.order_by(others.c.last_used_at.desc()).offset(inline(MOST_LIVE - 1))
    over = sa.select(sessions.c.session_id).where(
        sessions.c.account_id == _account,
        sa.exists().select_from(begun),
        (sessions.c.expires_at < NOW) | (sessions.c.ended_at < NOW - ENDED_FOR) | sessions.c.session_id.in_(beyond),
    )
    held = over.order_by(sessions.c.session_id).with_for_update().cte("over")
    return sa.delete(sessions).where(sessions.c.session_id == held.c.session_id).cte("tidied")


def _rotate() -> Statement:
    # A session is locked before its tokens, as those do that delete it.
    held = (
        sa.select(sessions.c.session_id)
        .select_from(refresh_tokens.join(sessions))
        .where(refresh_tokens.c.digest == _digest, _goes_on)
        .with_for_update(key_share=True, of=sessions)
        .cte("held")
    )
    spent = (
        sa.update(refresh_tokens)
        .values(used_at=NOW, successor=_successor)
        .where(refresh_tokens.c.digest == _digest, refresh_tokens.c.used_at.is_(None))
        .where(refresh_tokens.c.session_id == held.c.session_id)
        .returning(refresh_tokens.c.session_id)
        .cte("spent")
    )
    next_token = sa.select(_successor, spent.c.session_id)
    followed = sa.insert(refresh_tokens).from_select(["digest", "session_id"], next_token).cte("followed")
    forgotten = (
        sa.delete(refresh_tokens)
        .where(refresh_tokens.c.session_id == spent.c.session_id, refresh_tokens.c.used_at < NOW - _LIFE)
        .cte("forgotten")
    )
    used = sa.update(sessions).values(last_used_at=NOW, expires_at=NOW + _LIFE, **_client)
    used = used.where(sessions.c.session_id == spent.c.session_id)
    return Statement(used.returning(*_known).add_cte(followed, forgotten))


def _look() -> Statement:
    following = refresh_tokens.alias("following")
    in_grace = refresh_tokens.c.used_at > NOW - timedelta(seconds=GRACE_SECONDS)
    return Statement(
        sa.select(
            *_known,
            _goes_on.label("live"),
            refresh_tokens.c.used_at.is_not(None).label("used"),
            (in_grace & following.c.used_at.is_(None)).label("in_grace"),
        )
        .select_from(refresh_tokens.join(sessions))
        .outerjoin(following, following.c.digest == refresh_tokens.c.successor)
        .where(refresh_tokens.c.digest == _digest)
    )


def _ending(those: sa.Select[Any]) -> Statement:
    these = those.order_by(sessions.c.session_id).with_for_update(key_share=True, of=sessions).cte("these")
    return Statement(sa.update(sessions).values(ended_at=NOW).where(sessions.c.session_id == these.c.session_id))


def _begin_later() -> Statement:
    voids = given_rows("voids", account_id=sa.Uuid(), version=sa.Integer())
    newest = sa.select(voids.c.account_id, sa.func.max(voids.c.version).label("version"))
    void = newest.group_by(voids.c.account_id).subquery("newest")
    return Statement(
        sa.update(credentials)
        .values(sessions_from=void.c.version)
        .where(credentials.c.account_id == void.c.account_id, credentials.c.sessions_from < void.c.version)
    )


def _end_older() -> Statement:
    void = given_rows("voids", account_id=sa.Uuid(), version=sa.Integer(), kept=sa.Uuid(), at=TIMESTAMPTZ)
    older = sa.func.coalesce(sessions.c.account_version < void.c.version, sessions.c.created_at < void.c.at)
    those = sa.select(sessions.c.session_id).join(void, void.c.account_id == sessions.c.account_id)
    kept = sessions.c.session_id.is_distinct_from(void.c.kept)
    return _ending(those.where(sessions.c.ended_at.is_(None), kept, older))


OLD: Final = Retention(
    table=sessions,
    since=sa.func.least(sessions.c.ended_at, sessions.c.expires_at, type_=TIMESTAMPTZ),
    at_once=100,
)
"""Sessions that are over, of accounts that begin no others. Few at once: with each go some thousands of tokens."""
BEGIN: Final = _begin()
ROTATE: Final = _rotate()
LOOK: Final = _look()
IS_LIVE: Final = Statement(
    sa.select(sessions.c.session_id).where(
        sessions.c.session_id == sa.bindparam("session"), sessions.c.account_id == _account, _goes_on
    )
)
END: Final = _ending(
    sa.select(sessions.c.session_id).where(any_of(sessions.c.session_id, "sessions"), sessions.c.ended_at.is_(None))
)
BEGIN_LATER: Final = _begin_later()
END_OLDER: Final = _end_older()
