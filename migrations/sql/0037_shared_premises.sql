-- The append as it was, but that what many requests of a batch rely on is said once: it cost an import 7 %.
--
-- The one way into the log: many requests, one lock, one commit, one verdict per request.
--
-- `batch` is one document: two dozen array parameters cost Postgres a quarter less, and each client half as much again.
--   requests  [{parts, events, claims, allowances: how many of the lists below are its own, in order,
--               premises?: which of these it relies on, from 0; principal?, key?, fingerprint?, outcome?, store?}]
--   parts     [{stream, category, expected, added, position?, recorded?}]
--             expected: the version that the stream must be at. Where that was left by no other part of this batch, the
--             position and time (in microseconds) of its last event go with it: a version alone would not notice that
--             a standby took over without that event, and somebody else wrote another one. added 0: only relied on.
--   events    [{stream, version, category, shard, type, schema, data, metadata}]
--   premises? [{stream, category, expected, added: 0, shared: true, position?, recorded?}]
--             what many requests only rely on, as all rows of an import do on its owner's account: said and read once
--   claims    [{scope, digest, stream, released}]
--   allowances [{scope, owner, stream, released, weight?, most?, most_weight?}]
--   keyed     whether any request has a key; writing: whether any adds events or stores a key
--
-- A request is all or nothing. `store` false: its key is only looked up (refusals are not stored). A stream of another
-- category counts as absent.
--
-- Verdicts: when every request is good, ONE row ('all', base): the k-th event of the batch has position base + k.
-- Otherwise one row per request: 'stored' (position of its last event), 'conflict', 'taken' (detail: index of the
-- claim within the request), 'exceeded' (detail: scope and owner, and whether by_weight), 'replayed' (detail: the stored
-- outcome and its fingerprint).
CREATE OR REPLACE FUNCTION append_to_log(batch jsonb)
RETURNS TABLE (verdict text, at bigint, recorded bigint, detail jsonb)
LANGUAGE plpgsql
SET lock_timeout = '1s'
-- Plans are made once per session, perhaps while the tables are still empty: only those that look rows up by index
-- stay right as the log grows.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
    total    CONSTANT integer := jsonb_array_length(batch -> 'events');
    keyed    CONSTANT boolean := (batch -> 'keyed')::boolean;
    claiming CONSTANT boolean := jsonb_array_length(batch -> 'claims') > 0;
    allowing CONSTANT boolean := jsonb_array_length(batch -> 'allowances') > 0;
    writing  CONSTANT boolean := (batch -> 'writing')::boolean;
    parts    CONSTANT jsonb   := coalesce((batch -> 'premises') || (batch -> 'parts'), batch -> 'parts');
    now_     timestamptz;
    base     bigint;
    good     boolean;
BEGIN
    -- A standby knows less than its primary, so that neither its yes nor its no is worth anything.
    IF current_setting('transaction_read_only')::boolean THEN
        RAISE EXCEPTION 'this server takes no events' USING ERRCODE = 'read_only_sql_transaction';
    END IF;
    -- From here to the commit nothing else can append, so whatever is checked below stays true.
    -- A call that stores nothing takes no lock and holds up nobody. Each of its checks reads a newer snapshot than the
    -- one before, which does no harm: versions first, then keys, and neither ever goes back.
    IF writing THEN
        PERFORM pg_advisory_xact_lock(1464158546, 1);
    END IF;
    SELECT greatest(h.position, (SELECT e.position FROM events e ORDER BY e.position DESC LIMIT 1)) INTO base
    FROM log_head h;
    now_ := clock_timestamp();

    -- All at once: each part expects what the part before it on the same stream leaves, or what the log holds. Where
    -- one adds to what others rely on, their order matters: that is left to one by one.
    SELECT NOT EXISTS (
        SELECT FROM (
            SELECT p.*, lag(p.expected + p.added) OVER one_stream AS left_behind, lag(p.shared) OVER one_stream AS relied_on
            FROM ROWS FROM (jsonb_to_recordset(parts) AS (
                     stream uuid, category text, expected integer, added integer, position bigint, recorded bigint,
                     shared boolean))
                 WITH ORDINALITY AS p (stream, category, expected, added, position, recorded, shared, place)
            WINDOW one_stream AS (PARTITION BY p.stream ORDER BY p.place)
        ) q
        LEFT JOIN LATERAL (
            SELECT e.version, e.position, e.recorded_at, e.category FROM events e
            WHERE q.left_behind IS NULL AND e.stream_id = q.stream ORDER BY e.version DESC LIMIT 1
        ) l ON true
        WHERE CASE
            WHEN q.relied_on THEN true
            WHEN q.left_behind IS NOT NULL THEN q.expected <> q.left_behind
            WHEN l.version IS NULL THEN q.expected <> 0
            WHEN l.category <> q.category THEN q.expected <> 0 OR q.added <> 0
            ELSE q.expected <> l.version OR q.position <> l.position OR q.recorded <> microseconds(l.recorded_at)
        END
    ) INTO good;
    IF good AND keyed THEN
        SELECT NOT EXISTS (
            SELECT FROM jsonb_to_recordset(batch -> 'requests') AS r (principal text, key text)
            JOIN commands c ON c.principal = r.principal AND c.key = r.key)
          AND (SELECT count(*) = count(DISTINCT (principal, key))
               FROM jsonb_to_recordset(batch -> 'requests') AS r (principal text, key text) WHERE key IS NOT NULL)
        INTO good;
    END IF;
    IF good AND claiming THEN
        SELECT NOT EXISTS (
            SELECT FROM jsonb_to_recordset(batch -> 'claims') AS n (scope text, digest bytea, stream uuid, released boolean)
            LEFT JOIN claims c ON c.scope = n.scope AND c.key_digest = n.digest
            WHERE n.released OR c.stream_id <> n.stream)
          AND (SELECT count(*) = count(DISTINCT (scope, digest))
               FROM jsonb_to_recordset(batch -> 'claims') AS n (scope text, digest bytea))
        INTO good;
    END IF;
    IF good AND allowing THEN
        good := exceeded_allowance(batch -> 'allowances') IS NULL;
    END IF;
    IF NOT good THEN
        RETURN QUERY SELECT * FROM append_one_by_one(batch, base, now_);
        RETURN;
    END IF;

    IF total > 0 THEN
        INSERT INTO events
        SELECT base + e.place, e.stream, e.version, e.category, e.shard, e.type, e.schema, e.data, e.metadata, now_
        FROM ROWS FROM (jsonb_to_recordset(batch -> 'events') AS (
                 stream uuid, version integer, category text, shard smallint, type text, schema smallint,
                 data jsonb, metadata jsonb))
             WITH ORDINALITY AS e (stream, version, category, shard, type, schema, data, metadata, place);
    END IF;
    IF claiming THEN
        INSERT INTO claims
        SELECT * FROM jsonb_to_recordset(batch -> 'claims') AS n (scope text, digest bytea, stream uuid)
        ON CONFLICT DO NOTHING;
    END IF;
    IF allowing THEN
        PERFORM change_allowances(batch -> 'allowances');
    END IF;
    IF keyed THEN
        INSERT INTO commands
        SELECT r.principal, r.key, r.fingerprint, r.outcome, base + r.upto, now_
        FROM (SELECT *, sum(events) OVER (ORDER BY place) AS upto
              FROM ROWS FROM (jsonb_to_recordset(batch -> 'requests') AS (
                       principal text, key text, fingerprint bytea, outcome jsonb, store boolean, events integer))
                   WITH ORDINALITY AS x (principal, key, fingerprint, outcome, store, events, place)) r
        WHERE r.key IS NOT NULL AND r.store;
    END IF;
    RETURN QUERY SELECT 'all', base, microseconds(now_), NULL::jsonb;
END
$$;

-- The same, one request after the other, for a batch in which something is amiss. A request that fails takes down
-- those behind it that were decided on what it would have left, and nobody else. Versions alone cannot tell these:
-- another process may have filled the very version that they expect.
CREATE OR REPLACE FUNCTION append_one_by_one(batch jsonb, base bigint, now_ timestamptz)
RETURNS TABLE (verdict text, at bigint, recorded bigint, detail jsonb)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    all_parts  CONSTANT jsonb[] := ARRAY (SELECT jsonb_array_elements(batch -> 'parts'));
    all_events CONSTANT jsonb[] := ARRAY (SELECT jsonb_array_elements(batch -> 'events'));
    all_claims CONSTANT jsonb[] := ARRAY (SELECT jsonb_array_elements(batch -> 'claims'));
    all_shares CONSTANT jsonb[] := ARRAY (SELECT jsonb_array_elements(batch -> 'allowances'));
    parts    jsonb;
    relied_on jsonb;
    added    jsonb;
    claimed  jsonb;
    shares   jsonb;
    poisoned uuid[] := '{}';
    p integer := 0;
    e integer := 0;
    c integer := 0;
    s integer := 0;
    taken    integer;
    known    record;
    r        record;
    claim    record;
BEGIN
    FOR r IN
        SELECT * FROM ROWS FROM (jsonb_to_recordset(batch -> 'requests') AS (
            parts integer, events integer, claims integer, allowances integer, premises integer[],
            principal text, key text, fingerprint bytea, outcome jsonb, store boolean))
        WITH ORDINALITY AS x (parts, events, claims, allowances, premises,
                              principal, key, fingerprint, outcome, store, place)
        ORDER BY place
    LOOP
        parts := to_jsonb(all_parts[p + 1 : p + r.parts]);       p := p + r.parts;
        FOR relied_on IN SELECT batch -> 'premises' -> u.place FROM unnest(r.premises) AS u (place) LOOP
            parts := parts || relied_on;
        END LOOP;
        added := to_jsonb(all_events[e + 1 : e + r.events]);     e := e + r.events;
        claimed := to_jsonb(all_claims[c + 1 : c + r.claims]);   c := c + r.claims;
        shares := to_jsonb(all_shares[s + 1 : s + coalesce(r.allowances, 0)]);  s := s + coalesce(r.allowances, 0);
        verdict := NULL;  at := NULL;  recorded := microseconds(now_);  detail := NULL;

        IF r.key IS NOT NULL THEN
            SELECT * INTO known FROM commands k WHERE k.principal = r.principal AND k.key = r.key;
            IF FOUND THEN
                verdict := 'replayed';
                at := known.position;
                detail := jsonb_build_object('outcome', known.outcome, 'fingerprint', encode(known.fingerprint, 'hex'));
            END IF;
        END IF;
        IF verdict IS NULL AND EXISTS (
            SELECT FROM jsonb_to_recordset(parts) AS n (
                stream uuid, category text, expected integer, added integer, position bigint, recorded bigint)
            LEFT JOIN LATERAL (
                SELECT v.version, v.position, v.recorded_at, v.category FROM events v
                WHERE v.stream_id = n.stream ORDER BY v.version DESC LIMIT 1
            ) l ON true
            WHERE n.stream = ANY (poisoned) OR CASE
                WHEN l.version IS NULL THEN n.expected <> 0
                WHEN l.category <> n.category THEN n.expected <> 0 OR n.added <> 0
                ELSE n.expected <> l.version OR n.position <> l.position OR n.recorded <> microseconds(l.recorded_at)
            END)
        THEN
            verdict := 'conflict';
        END IF;
        IF verdict IS NULL AND r.allowances > 0 THEN
            detail := exceeded_allowance(shares);
            IF detail IS NOT NULL THEN
                verdict := 'exceeded';
            END IF;
        END IF;
        IF verdict IS NULL AND r.claims > 0 THEN
            BEGIN
                FOR claim IN
                    SELECT * FROM ROWS FROM (jsonb_to_recordset(claimed) AS (
                        scope text, digest bytea, stream uuid, released boolean))
                    WITH ORDINALITY AS x (scope, digest, stream, released, place)
                    ORDER BY place
                LOOP
                    taken := claim.place - 1;
                    IF claim.released THEN
                        DELETE FROM claims k
                        WHERE k.scope = claim.scope AND k.key_digest = claim.digest AND k.stream_id = claim.stream;
                    ELSE
                        INSERT INTO claims VALUES (claim.scope, claim.digest, claim.stream) ON CONFLICT DO NOTHING;
                        PERFORM FROM claims k
                        WHERE k.scope = claim.scope AND k.key_digest = claim.digest AND k.stream_id = claim.stream;
                        IF NOT FOUND THEN
                            RAISE unique_violation;
                        END IF;
                    END IF;
                END LOOP;
            EXCEPTION WHEN unique_violation THEN
                -- What the request took and gave back before this one is undone with the block.
                verdict := 'taken';
                detail := to_jsonb(taken);
            END;
        END IF;
        IF verdict IS NOT NULL THEN
            SELECT poisoned || coalesce(array_agg(n.stream), '{}') INTO poisoned
            FROM jsonb_to_recordset(parts) AS n (stream uuid, added integer) WHERE n.added > 0;
            RETURN NEXT;
            CONTINUE;
        END IF;

        INSERT INTO events
        SELECT base + n.place, n.stream, n.version, n.category, n.shard, n.type, n.schema, n.data, n.metadata, now_
        FROM ROWS FROM (jsonb_to_recordset(added) AS (
                 stream uuid, version integer, category text, shard smallint, type text, schema smallint,
                 data jsonb, metadata jsonb))
             WITH ORDINALITY AS n (stream, version, category, shard, type, schema, data, metadata, place);
        IF r.allowances > 0 THEN
            PERFORM change_allowances(shares);
        END IF;
        base := base + r.events;
        IF r.key IS NOT NULL AND r.store THEN
            INSERT INTO commands VALUES (r.principal, r.key, r.fingerprint, r.outcome, base, now_);
        END IF;
        verdict := 'stored';
        at := base;
        RETURN NEXT;
    END LOOP;
END
$$;
