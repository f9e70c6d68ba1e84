-- Of what is taken and given back in one batch the last counts: somebody leaves a room and joins it again. An unpaid order
-- is taken once and given back once, so that until now their order did not matter.
CREATE OR REPLACE FUNCTION change_allowances(changes jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF changes @? '$[*] ? (@.released == false)' THEN
        INSERT INTO allowances
        SELECT l.scope, l.owner, l.stream, l.weight FROM last_changes(changes) l WHERE NOT l.released
        ON CONFLICT (scope, owner, stream_id) DO UPDATE SET weight = excluded.weight;
    END IF;
    IF changes @? '$[*] ? (@.released == true)' THEN
        DELETE FROM allowances a
        USING last_changes(changes) l
        WHERE l.released AND a.scope = l.scope AND a.owner = l.owner AND a.stream_id = l.stream;
    END IF;
END
$$;

CREATE FUNCTION last_changes(changes jsonb)
RETURNS TABLE (scope text, owner uuid, stream uuid, weight bigint, released boolean)
LANGUAGE sql AS $$
    SELECT DISTINCT ON (c.scope, c.owner, c.stream) c.scope, c.owner, c.stream, c.weight, c.released
    FROM ROWS FROM (jsonb_to_recordset(changes) AS (
             scope text, owner uuid, stream uuid, weight bigint, released boolean))
         WITH ORDINALITY AS c (scope, owner, stream, weight, released, place)
    ORDER BY c.scope, c.owner, c.stream, c.place DESC
$$;
