-- The one way into the log: many requests, one lock, one commit, one verdict per request.
--
-- A request r_* is all or nothing. It owns the next r_parts[i] rows of p_* (streams with the version it expects and
-- the number of events it adds; 0 = it only relies on that version), the next r_events[i] rows of e_* and the next
-- r_claims[i] rows of c_*. r_key is null where the client sent no idempotency key; r_store is false where the key is
-- only looked up (the answer will be a refusal, and refusals are not stored).
--
-- Verdicts: when every request is good, ONE row (0, 'stored', base): event k of the call has position base + k.
-- Otherwise one row per request: 'stored' (position of its last event), 'conflict', 'taken' (detail: index of the
-- claim within the request), 'replayed' (detail: the stored outcome, with its fingerprint).
CREATE FUNCTION append_events(
    r_principal text[], r_key text[], r_fingerprint bytea[], r_outcome jsonb[], r_store boolean[],
    r_parts integer[], r_events integer[], r_claims integer[],
    p_stream uuid[], p_expected integer[], p_count integer[],
    e_stream uuid[], e_version integer[], e_category text[], e_shard smallint[], e_type text[],
    e_schema smallint[], e_data jsonb[], e_metadata jsonb[],
    c_scope text[], c_digest bytea[], c_stream uuid[], c_released boolean[]
) RETURNS TABLE (request integer, verdict text, at bigint, detail jsonb)
LANGUAGE plpgsql SET lock_timeout = '1s' AS $$
#variable_conflict use_column
DECLARE
    total    CONSTANT integer := cardinality(e_stream);
    keyed    CONSTANT boolean := EXISTS (SELECT FROM unnest(r_key) k WHERE k IS NOT NULL);
    writing  CONSTANT boolean := total > 0 OR true = ANY (r_store);
    claiming CONSTANT boolean := cardinality(c_scope) > 0;
    now_     CONSTANT timestamptz := clock_timestamp();
    base     bigint;
    good     boolean;
    poisoned uuid[] := '{}';
    p0 integer := 0;  e0 integer := 0;  c0 integer := 0;
    p1 integer;  e1 integer;  c1 integer;
    stored   record;
    bad      integer;
BEGIN
    -- From here to the commit nothing else can append, so whatever is checked below stays true.
    -- A call that stores nothing reads one snapshot instead and holds up nobody.
    IF writing THEN
        UPDATE log_head SET position = position + total RETURNING position - total INTO base;
    ELSE
        SELECT position INTO base FROM log_head;
    END IF;

    -- All at once: each part expects what the part before it on the same stream leaves, or what the log holds.
    SELECT NOT EXISTS (
        SELECT FROM (
            SELECT p.stream, p.expected,
                   lag(p.expected + p.added) OVER (PARTITION BY p.stream ORDER BY p.place) AS left_behind
            FROM unnest(p_stream, p_expected, p_count) WITH ORDINALITY AS p (stream, expected, added, place)
        ) q
        WHERE q.expected <> coalesce(q.left_behind, (
            SELECT e.version FROM events e WHERE e.stream_id = q.stream ORDER BY e.version DESC LIMIT 1), 0)
    ) INTO good;
    IF good AND keyed THEN
        SELECT NOT EXISTS (
            SELECT FROM unnest(r_principal, r_key) AS r (principal, key)
            JOIN commands c ON c.principal = r.principal AND c.key = r.key)
          AND (SELECT count(*) = count(DISTINCT (principal, key))
               FROM unnest(r_principal, r_key) AS r (principal, key) WHERE key IS NOT NULL) INTO good;
    END IF;
    IF good AND claiming THEN
        SELECT NOT EXISTS (
            SELECT FROM unnest(c_scope, c_digest, c_stream) AS n (scope, digest, stream)
            JOIN claims c ON c.scope = n.scope AND c.key_digest = n.digest
            WHERE c.stream_id <> n.stream)
          AND NOT true = ANY (c_released)
          AND (SELECT count(*) = count(DISTINCT (scope, digest))
               FROM unnest(c_scope, c_digest) AS n (scope, digest)) INTO good;
    END IF;

    IF good THEN
        IF total > 0 THEN
            INSERT INTO events
            SELECT base + e.place, e.stream, e.version, e.category, e.shard, e.type, e.schema, e.data, e.metadata, now_
            FROM unnest(e_stream, e_version, e_category, e_shard, e_type, e_schema, e_data, e_metadata)
                 WITH ORDINALITY AS e (stream, version, category, shard, type, schema, data, metadata, place);
        END IF;
        IF claiming THEN
            INSERT INTO claims SELECT * FROM unnest(c_scope, c_digest, c_stream) ON CONFLICT DO NOTHING;
        END IF;
        IF keyed THEN
            INSERT INTO commands
            SELECT r.principal, r.key, r.fingerprint, r.outcome, base + r.upto, now_
            FROM (SELECT *, sum(added) OVER (ORDER BY place) AS upto
                  FROM unnest(r_principal, r_key, r_fingerprint, r_outcome, r_store, r_events)
                       WITH ORDINALITY AS x (principal, key, fingerprint, outcome, store, added, place)) r
            WHERE r.key IS NOT NULL AND r.store;
        END IF;
        RETURN QUERY SELECT 0, 'stored', base, NULL::jsonb;
        RETURN;
    END IF;

    -- One by one: a request that fails takes down those behind it that were decided on what it would have left,
    -- and nobody else. Versions alone cannot tell: another process may have filled the very version it expected.
    FOR i IN 1 .. cardinality(r_parts) LOOP
        p1 := p0 + r_parts[i];  e1 := e0 + r_events[i];  c1 := c0 + r_claims[i];
        verdict := NULL;  detail := NULL;  request := i - 1;  at := NULL;
        IF r_key[i] IS NOT NULL THEN
            SELECT * INTO stored FROM commands c WHERE c.principal = r_principal[i] AND c.key = r_key[i];
            IF FOUND THEN
                verdict := 'replayed';
                at := stored.position;
                detail := jsonb_build_object('outcome', stored.outcome, 'fingerprint', encode(stored.fingerprint, 'hex'));
            END IF;
        END IF;
        IF verdict IS NULL AND EXISTS (
            SELECT FROM unnest(p_stream[p0 + 1 : p1], p_expected[p0 + 1 : p1]) AS p (stream, expected)
            WHERE p.stream = ANY (poisoned) OR p.expected <> coalesce((
                SELECT e.version FROM events e WHERE e.stream_id = p.stream ORDER BY e.version DESC LIMIT 1), 0))
        THEN
            verdict := 'conflict';
        END IF;
        IF verdict IS NULL AND r_claims[i] > 0 THEN
            SELECT min(n.place) INTO bad
            FROM unnest(c_scope[c0 + 1 : c1], c_digest[c0 + 1 : c1], c_stream[c0 + 1 : c1], c_released[c0 + 1 : c1])
                 WITH ORDINALITY AS n (scope, digest, stream, released, place)
            JOIN claims c ON c.scope = n.scope AND c.key_digest = n.digest
            WHERE NOT n.released AND c.stream_id <> n.stream;
            IF bad IS NOT NULL THEN
                verdict := 'taken';
                detail := to_jsonb(bad - 1);
            END IF;
        END IF;
        IF verdict IS NULL THEN
            INSERT INTO events
            SELECT base + e.place, e.stream, e.version, e.category, e.shard, e.type, e.schema, e.data, e.metadata, now_
            FROM unnest(e_stream[e0 + 1 : e1], e_version[e0 + 1 : e1], e_category[e0 + 1 : e1], e_shard[e0 + 1 : e1],
                        e_type[e0 + 1 : e1], e_schema[e0 + 1 : e1], e_data[e0 + 1 : e1], e_metadata[e0 + 1 : e1])
                 WITH ORDINALITY AS e (stream, version, category, shard, type, schema, data, metadata, place);
            base := base + r_events[i];
            IF r_claims[i] > 0 THEN
                DELETE FROM claims c
                USING unnest(c_scope[c0 + 1 : c1], c_digest[c0 + 1 : c1], c_stream[c0 + 1 : c1], c_released[c0 + 1 : c1])
                      AS n (scope, digest, stream, released)
                WHERE n.released AND c.scope = n.scope AND c.key_digest = n.digest AND c.stream_id = n.stream;
                INSERT INTO claims
                SELECT n.scope, n.digest, n.stream
                FROM unnest(c_scope[c0 + 1 : c1], c_digest[c0 + 1 : c1], c_stream[c0 + 1 : c1], c_released[c0 + 1 : c1])
                     AS n (scope, digest, stream, released)
                WHERE NOT n.released ON CONFLICT DO NOTHING;
            END IF;
            IF r_key[i] IS NOT NULL AND r_store[i] THEN
                INSERT INTO commands VALUES (r_principal[i], r_key[i], r_fingerprint[i], r_outcome[i], base, now_);
            END IF;
            verdict := 'stored';
            at := base;
        ELSE
            SELECT poisoned || coalesce(array_agg(p.stream), '{}') INTO poisoned
            FROM unnest(p_stream[p0 + 1 : p1], p_count[p0 + 1 : p1]) AS p (stream, added) WHERE p.added > 0;
        END IF;
        p0 := p1;  e0 := e1;  c0 := c1;
        RETURN NEXT;
    END LOOP;
    IF writing THEN
        UPDATE log_head SET position = base;
    END IF;
END
$$;
