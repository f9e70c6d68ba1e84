-- The append as it was, but that unique keys and shares are columns as well, which were taken out of JSON several times in
-- each batch; and that the client says which part of a batch comes before which on the same stream, so that nothing is
-- sorted here. A process that was started before this one goes on sending to `append_batch`.
--
-- The one way into the log: many requests, one lock, one commit, one verdict per request.
--
-- `batch` is columns, one behind the other with U+001E in between. Numbers, ids and names are arrays as Postgres spells
-- them; of texts that come from anywhere each is followed by U+001F but the last, which no JSON has in it. In order:
--
--    1  head          [writing, relied_on, requests: how many there are]
--                     writing 1: a request adds events or stores a key
--                     relied_on: so many of the parts come first because requests only rely on them, as all rows of an
--                     import do on its owner's account: said and read once
--       parts of requests, each a stream:
--    2  stream    3  category
--    4  numbers       [shard, added, expected, position, recorded, before]
--                     added: how many events; 0 relies on the stream
--                     expected: the version that the stream must be at. Where that was left by no other part of this
--                     batch, the position and time (in microseconds) of its last event go with it: a version alone would
--                     not notice that a standby took over without that event, and somebody else wrote another one
--                     before: which part, from 1, is the last one before it on the same stream; NULL: none in this batch.
--                     Where that is not said, two parts would add the same version, and none of the batch is stored
--       events:
--    5  numbers       [part, request, version, schema]; the first two from 1
--    6  type      7  data (texts)
--       requests:
--    8  metadata (texts)
--    9  counts        JSON, for one by one: [[parts, events, claims, allowances, [which of the parts relied_on]]]
--   10  keys          [store, upto], empty where no request has an idempotency key
--                     store NULL: it has none; 0: it is only looked up, as refusals are not stored
--                     upto: so many events has the batch up to the end of the request
--   11  principal (texts)    12  key (texts)    13  fingerprint: hexadecimal    14  outcome (texts)
--       what requests take, or give back:
--   15  claims        [scope, digest: hexadecimal, stream, released: 0 or 1]
--   16  allowances    [scope, owner, stream, released, weight, most, most_weight]
--
-- A request is all or nothing. A stream of another category counts as absent.
--
-- Verdicts: when every request is good, ONE row ('all', base): the k-th event of the batch has position base + k.
-- Otherwise one row per request: 'stored' (position of its last event), 'conflict', 'taken' (detail: index of the
-- claim within the request), 'exceeded' (detail: scope and owner, and whether by_weight), 'replayed' (detail: the stored
-- outcome and its fingerprint).
CREATE OR REPLACE FUNCTION append_columns(batch bytea)
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
    columns    CONSTANT text[]     := string_to_array(convert_from(batch, 'UTF8'), E'\x1e');
    head       CONSTANT integer[]  := columns[1]::integer[];
    relied_on  CONSTANT integer    := head[2];
    streams    CONSTANT uuid[]     := columns[2]::uuid[];
    categories CONSTANT text[]     := columns[3]::text[];
    parts      CONSTANT bigint[][] := columns[4]::bigint[];
    data       CONSTANT text[]     := string_to_array(columns[7], E'\x1f');
    metadata   CONSTANT text[]     := string_to_array(columns[8], E'\x1f');
    total      CONSTANT integer    := cardinality(data);
    keyed      CONSTANT boolean    := columns[11] <> '';
    claiming   CONSTANT boolean    := columns[15] <> '{}';
    allowing   CONSTANT boolean    := columns[16] <> '{}';
    events_    bigint[][];
    types      text[];
    keys_      bigint[][];
    principals text[];
    keys       text[];
    outcomes   text[];
    claims_    text[][];
    shares     text[][];
    now_       timestamptz;
    base       bigint;
    good       boolean;
BEGIN
    -- A standby knows less than its primary, so that neither its yes nor its no is worth anything.
    IF current_setting('transaction_read_only')::boolean THEN
        RAISE EXCEPTION 'this server takes no events' USING ERRCODE = 'read_only_sql_transaction';
    END IF;
    IF total > 0 THEN
        events_ := columns[5]::bigint[];
        types := columns[6]::text[];
    END IF;
    IF keyed THEN
        keys_ := columns[10]::bigint[];
        principals := string_to_array(columns[11], E'\x1f');
        keys := string_to_array(columns[12], E'\x1f');
        outcomes := string_to_array(columns[14], E'\x1f');
    END IF;
    IF claiming THEN
        claims_ := columns[15]::text[];
    END IF;
    IF allowing THEN
        shares := columns[16]::text[];
    END IF;
    -- What has a separator in it would be taken for two, and each behind it for its neighbour.
    IF cardinality(columns) <> 16 OR total = 0 AND columns[6] <> '{}' OR total > 0 AND total <> cardinality(types)
        OR keyed AND (cardinality(principals) <> cardinality(metadata) OR cardinality(keys) <> cardinality(metadata)
                      OR cardinality(outcomes) <> cardinality(metadata))
        OR cardinality(metadata) <> head[3]
    THEN
        RAISE EXCEPTION 'a batch that is not in order' USING ERRCODE = 'data_exception';
    END IF;

    -- From here to the commit nothing else can append, so whatever is checked below stays true.
    -- A call that stores nothing takes no lock and holds up nobody. Each of its checks reads a newer snapshot than the
    -- one before, which does no harm: versions first, then keys, and neither ever goes back.
    IF head[1] = 1 THEN
        PERFORM pg_advisory_xact_lock(1464158546, 1);
    END IF;
    SELECT greatest(h.position, (SELECT e.position FROM events e ORDER BY e.position DESC LIMIT 1)) INTO base
    FROM log_head h;
    now_ := clock_timestamp();

    -- All at once: each part expects what the part before it on the same stream leaves, or what the log holds. Where
    -- one adds to what others rely on, their order matters: that is left to one by one.
    SELECT NOT EXISTS (
        SELECT FROM (
            SELECT p, streams[p] AS stream, parts[p][2] AS added, parts[p][3] AS expected, parts[p][6] AS before,
                   parts[parts[p][6]][3] + parts[parts[p][6]][2] AS left_behind
            FROM generate_series(1, cardinality(streams)) AS p
        ) q
        LEFT JOIN LATERAL (
            SELECT e.version, e.position, e.recorded_at, e.category FROM events e
            WHERE q.before IS NULL AND e.stream_id = q.stream ORDER BY e.version DESC LIMIT 1
        ) l ON true
        WHERE CASE
            WHEN q.before <= relied_on THEN true
            WHEN q.before IS NOT NULL
                THEN q.expected <> q.left_behind OR streams[q.before] <> q.stream OR q.before >= p
            WHEN l.version IS NULL THEN q.expected <> 0
            WHEN l.category <> categories[p] THEN q.expected <> 0 OR q.added <> 0
            ELSE q.expected <> l.version OR parts[p][4] <> l.position OR parts[p][5] <> microseconds(l.recorded_at)
        END
    ) INTO good;
    IF good AND keyed THEN
        SELECT NOT EXISTS (
            SELECT FROM generate_series(1, cardinality(keys)) AS r
            JOIN commands c ON c.principal = principals[r] AND c.key = keys[r]
            WHERE keys_[r][1] IS NOT NULL)
          AND (SELECT count(*) = count(DISTINCT (principals[r], keys[r]))
               FROM generate_series(1, cardinality(keys)) AS r WHERE keys_[r][1] IS NOT NULL)
        INTO good;
    END IF;
    IF good AND claiming THEN
        SELECT NOT EXISTS (
            SELECT FROM generate_series(1, array_length(claims_, 1)) AS n
            LEFT JOIN claims c ON c.scope = claims_[n][1] AND c.key_digest = decode(claims_[n][2], 'hex')
            WHERE claims_[n][4] = '1' OR c.stream_id <> claims_[n][3]::uuid)
          AND (SELECT count(*) = count(DISTINCT (claims_[n][1], claims_[n][2]))
               FROM generate_series(1, array_length(claims_, 1)) AS n)
        INTO good;
    END IF;
    IF good AND allowing THEN
        good := exceeded_allowance(shares) IS NULL;
    END IF;
    IF NOT good THEN
        RETURN QUERY SELECT * FROM append_one_by_one(document_of_columns(columns), base, now_);
        RETURN;
    END IF;

    IF total > 0 THEN
        INSERT INTO events
        SELECT base + e, streams[events_[e][1]], events_[e][3], categories[events_[e][1]], parts[events_[e][1]][1], types[e],
               events_[e][4], data[e]::jsonb, metadata[events_[e][2]]::jsonb, now_
        FROM generate_series(1, total) AS e;
    END IF;
    IF claiming THEN
        INSERT INTO claims
        SELECT claims_[n][1], decode(claims_[n][2], 'hex'), claims_[n][3]::uuid
        FROM generate_series(1, array_length(claims_, 1)) AS n
        ON CONFLICT DO NOTHING;
    END IF;
    IF allowing THEN
        PERFORM change_allowances(shares);
    END IF;
    IF keyed THEN
        INSERT INTO commands
        SELECT principals[r], keys[r], decode(f, 'hex'), outcomes[r]::jsonb, base + keys_[r][2], now_
        FROM unnest(columns[13]::text[]) WITH ORDINALITY AS x (f, r) WHERE keys_[r][1] = 1;
    END IF;
    verdict := 'all';  at := base;  recorded := microseconds(now_);
    RETURN NEXT;
END
$$;

-- The columns of a batch as one document, as `append_one_by_one` takes it.
CREATE OR REPLACE FUNCTION document_of_columns(columns text[]) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
    relied_on  CONSTANT integer    := (columns[1]::integer[])[2];
    streams    CONSTANT uuid[]     := columns[2]::uuid[];
    categories CONSTANT text[]     := columns[3]::text[];
    parts      CONSTANT bigint[][] := columns[4]::bigint[];
    events     CONSTANT bigint[][] := columns[5]::bigint[];
    types      CONSTANT text[]     := columns[6]::text[];
    data       CONSTANT text[]     := string_to_array(columns[7], E'\x1f');
    metadata   CONSTANT text[]     := string_to_array(columns[8], E'\x1f');
    counts     CONSTANT jsonb      := columns[9]::jsonb;
    keys_      CONSTANT bigint[][] := columns[10]::bigint[];
    principals CONSTANT text[]     := string_to_array(columns[11], E'\x1f');
    keys       CONSTANT text[]     := string_to_array(columns[12], E'\x1f');
    prints     CONSTANT text[]     := columns[13]::text[];
    outcomes   CONSTANT text[]     := string_to_array(columns[14], E'\x1f');
    claims_    CONSTANT text[][]   := columns[15]::text[];
    shares     CONSTANT text[][]   := columns[16]::text[];
BEGIN
    RETURN (
        SELECT jsonb_build_object(
            'premises', coalesce(jsonb_agg(part ORDER BY p) FILTER (WHERE p <= relied_on), '[]'),
            'parts', coalesce(jsonb_agg(part ORDER BY p) FILTER (WHERE p > relied_on), '[]'))
        FROM (SELECT p, jsonb_build_object(
                  'stream', streams[p], 'category', categories[p], 'added', parts[p][2], 'expected', parts[p][3],
                  'position', parts[p][4], 'recorded', parts[p][5]) AS part
              FROM generate_series(1, cardinality(streams)) AS p) x
    ) || jsonb_build_object(
        'events', (
            SELECT coalesce(jsonb_agg(jsonb_build_object(
                'stream', streams[events[e][1]], 'category', categories[events[e][1]], 'shard', parts[events[e][1]][1],
                'version', events[e][3], 'type', types[e], 'schema', events[e][4], 'data', data[e]::jsonb,
                'metadata', metadata[events[e][2]]::jsonb) ORDER BY e), '[]')
            FROM generate_series(1, cardinality(data)) AS e),
        'requests', (
            SELECT jsonb_agg(jsonb_build_object(
                'parts', n -> 0, 'events', n -> 1, 'claims', n -> 2, 'allowances', n -> 3, 'premises', n -> 4,
                'store', keys_[r][1] = 1, 'principal', principals[r],
                'key', CASE WHEN keys_[r][1] IS NOT NULL THEN keys[r] END, 'fingerprint', '\x' || prints[r],
                'outcome', CASE WHEN keys_[r][1] IS NOT NULL THEN outcomes[r]::jsonb END) ORDER BY r)
            FROM jsonb_array_elements(counts) WITH ORDINALITY AS x (n, r)),
        'claims', (
            SELECT coalesce(jsonb_agg(jsonb_build_object(
                'scope', claims_[n][1], 'digest', '\x' || claims_[n][2], 'stream', claims_[n][3],
                'released', claims_[n][4] = '1') ORDER BY n), '[]')
            FROM generate_series(1, array_length(claims_, 1)) AS n),
        'allowances', (
            SELECT coalesce(jsonb_agg(jsonb_build_object(
                'scope', shares[n][1], 'owner', shares[n][2], 'stream', shares[n][3], 'released', shares[n][4] = '1',
                'weight', shares[n][5], 'most', shares[n][6], 'most_weight', shares[n][7]) ORDER BY n), '[]')
            FROM generate_series(1, array_length(shares, 1)) AS n));
END
$$;
-- The first of those that these shares would take beyond what it may have; NULL if there is none. Under the lock of the
-- log, so that nobody else takes any. What is given back by the same batch does not count yet. An owner's shares are
-- read one by one, and there are no more of them than the owner may have.
CREATE OR REPLACE FUNCTION exceeded_allowance(shares text[]) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    found_ jsonb;
BEGIN
    SELECT jsonb_build_object('scope', n.scope, 'owner', n.owner, 'by_weight', h.taken + n.taken <= n.most IS NOT FALSE)
    INTO found_
    FROM (
        SELECT shares[s][1] AS scope, shares[s][2]::uuid AS owner, count(*) AS taken, sum(shares[s][5]::bigint) AS weight,
               min(shares[s][6]::bigint) AS most, min(shares[s][7]::bigint) AS most_weight, min(s) AS place
        FROM generate_series(1, array_length(shares, 1)) AS s
        WHERE shares[s][4] = '0' AND coalesce(shares[s][6], shares[s][7]) IS NOT NULL
        GROUP BY shares[s][1], shares[s][2]
    ) n
    CROSS JOIN LATERAL (
        SELECT count(*) AS taken, coalesce(sum(t.weight), 0) AS weight FROM (
            SELECT a.weight FROM allowances a WHERE a.scope = n.scope AND a.owner = n.owner LIMIT n.most) t
    ) h
    WHERE h.taken + n.taken > n.most OR h.weight + n.weight > n.most_weight
    ORDER BY n.place LIMIT 1;
    RETURN found_;
END
$$;

-- Of what is taken and given back in one batch the last counts: somebody leaves a room and joins it again.
CREATE OR REPLACE FUNCTION change_allowances(shares text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO allowances
    SELECT l.scope, l.owner, l.stream, l.weight FROM last_changes(shares) l WHERE NOT l.released
    ON CONFLICT (scope, owner, stream_id) DO UPDATE SET weight = excluded.weight;
    IF '1' = ANY (shares[:][4:4]) THEN
        DELETE FROM allowances a
        USING last_changes(shares) l
        WHERE l.released AND a.scope = l.scope AND a.owner = l.owner AND a.stream_id = l.stream;
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION last_changes(shares text[])
RETURNS TABLE (scope text, owner uuid, stream uuid, weight bigint, released boolean)
LANGUAGE sql STABLE AS $$
    SELECT DISTINCT ON (stream, owner, scope) scope, owner, stream, weight, released
    FROM (
        SELECT s, shares[s][1] AS scope, shares[s][2]::uuid AS owner, shares[s][3]::uuid AS stream,
               shares[s][5]::bigint AS weight, shares[s][4] = '1' AS released
        FROM generate_series(1, array_length(shares, 1)) AS s
    ) c
    ORDER BY stream, owner, scope, s DESC
$$;

-- For one by one, which has them as JSON, as has the append of earlier releases.
CREATE OR REPLACE FUNCTION shares_of(changes jsonb) RETURNS text[] LANGUAGE sql STABLE
RETURN (
    SELECT array_agg(ARRAY[
        n ->> 'scope', n ->> 'owner', n ->> 'stream', CASE WHEN (n ->> 'released')::boolean THEN '1' ELSE '0' END,
        n ->> 'weight', n ->> 'most', n ->> 'most_weight'] ORDER BY s)
    FROM jsonb_array_elements(changes) WITH ORDINALITY AS x (n, s)
);

CREATE OR REPLACE FUNCTION exceeded_allowance(changes jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    RETURN exceeded_allowance(shares_of(changes));
END
$$;

CREATE OR REPLACE FUNCTION change_allowances(changes jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM change_allowances(shares_of(changes));
END
$$;

DROP FUNCTION IF EXISTS last_changes(changes jsonb);
