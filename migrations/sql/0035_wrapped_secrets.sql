-- Secrets of the server are wrapped under a key that is not here (infra/key_wrapping.py). What lies here in clear is
-- wrapped by the first process of this release that reads it; the clear text stays beside it for a while, because a
-- process of the release before reads nothing else, and goes when none can be there any more (infra/stored_secrets.py).
ALTER TABLE signing_keys
    ALTER COLUMN private_pem DROP NOT NULL,
    ADD COLUMN wrapped text,
    ADD COLUMN wrapped_at timestamptz,
    ADD CHECK (private_pem IS NOT NULL OR wrapped IS NOT NULL);
ALTER TABLE server_secret
    ALTER COLUMN secret DROP NOT NULL,
    ADD COLUMN wrapped text,
    ADD COLUMN wrapped_at timestamptz,
    ADD CHECK (secret IS NOT NULL OR wrapped IS NOT NULL);

-- An earlier revision has made one. Where nothing is derived from it yet, as in a database that was never served, it is
-- made anew, and never lies here in clear.
DELETE FROM server_secret
WHERE NOT EXISTS (SELECT FROM log_head)
    AND NOT EXISTS (SELECT FROM commands)
    AND NOT EXISTS (SELECT FROM refresh_tokens)
    AND NOT EXISTS (SELECT FROM links);
