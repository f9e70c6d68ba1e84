-- Fingerprints are keyed from here on: HMAC-SHA-256 under the server's secret, of the digest that they were until now.
INSERT INTO server_secret (secret)
SELECT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
ON CONFLICT DO NOTHING;

-- RFC 2104: the key is filled up with zeros to a block of 64 bytes, and each byte of it turned by the pad.
CREATE FUNCTION pg_temp.turned(secret bytea, pad integer) RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE
    block bytea := secret || decode(repeat('00', 32), 'hex');
BEGIN
    FOR i IN 0..63 LOOP
        block := set_byte(block, i, get_byte(block, i) # pad);
    END LOOP;
    RETURN block;
END
$$;
CREATE TEMPORARY TABLE pads ON COMMIT DROP AS
SELECT pg_temp.turned(secret, 54) || convert_to('idempotency', 'UTF8') || '\x00' AS inner_pad,
       pg_temp.turned(secret, 92) AS outer_pad
FROM server_secret;

-- An account's own requests may have had a password in them, which their digests give away: they go. A request that is
-- repeated is decided anew, and none of these can have its effect twice.
DELETE FROM commands WHERE principal = 'anonymous' OR principal = outcome ->> 'id';

-- The rows of a file are told apart by nothing but their keys, and are far too many to touch.
UPDATE commands SET fingerprint = sha256(outer_pad || sha256(inner_pad || fingerprint))
FROM pads WHERE principal NOT LIKE 'import:%';

-- What state tables knew of keys; of the keys themselves they had digests only.
INSERT INTO commands
SELECT account_id::text, 'sha256:' || encode(request_key, 'hex'),
       sha256(outer_pad || sha256(inner_pad || fingerprint)),
       jsonb_build_object('id', key_id, 'name', name, 'scopes', scopes, 'created_at', created_at,
                          'expires_at', expires_at),
       0, created_at
FROM api_keys, pads WHERE request_key IS NOT NULL AND fingerprint IS NOT NULL
UNION ALL
SELECT account_id::text, 'sha256:' || encode(request_key, 'hex'),
       sha256(outer_pad || sha256(inner_pad || sha256(convert_to(E'POST /v1/products/import?\n', 'UTF8') || fingerprint))),
       jsonb_build_object('id', import_id), 0, created_at
FROM imports, pads WHERE request_key IS NOT NULL AND fingerprint IS NOT NULL
ON CONFLICT DO NOTHING;

ALTER TABLE api_keys DROP COLUMN request_key, DROP COLUMN fingerprint;
DROP INDEX imports_request;
ALTER TABLE imports DROP COLUMN request_key, DROP COLUMN fingerprint;

-- Blocks that are used again hold old outcomes beside new ones, so that ranges of them tell the sweep nothing.
DROP INDEX commands_recorded_at;
CREATE INDEX commands_recorded_at ON commands (recorded_at);

-- A hash goes before its account; `settled` once a day has passed and the account was seen to be there.
ALTER TABLE credentials ADD COLUMN settled boolean NOT NULL DEFAULT false;
CREATE INDEX credentials_unsettled ON credentials (changed_at) WHERE NOT settled;
