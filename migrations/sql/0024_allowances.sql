-- What is taken and given back in one batch was taken first. Either is looked for only if there is some of it: an order
-- that is placed paid for a search of what it gives back as much as for its own row.
CREATE OR REPLACE FUNCTION change_allowances(changes jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF changes @? '$[*] ? (@.released == false)' THEN
        INSERT INTO allowances
        SELECT c.scope, c.owner, c.stream, c.weight
        FROM jsonb_to_recordset(changes) AS c (scope text, owner uuid, stream uuid, weight bigint, released boolean)
        WHERE NOT c.released
        ON CONFLICT DO NOTHING;
    END IF;
    IF changes @? '$[*] ? (@.released == true)' THEN
        DELETE FROM allowances a
        USING jsonb_to_recordset(changes) AS c (scope text, owner uuid, stream uuid, released boolean)
        WHERE c.released AND a.scope = c.scope AND a.owner = c.owner AND a.stream_id = c.stream;
    END IF;
END
$$;
