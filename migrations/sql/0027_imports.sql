-- What an import was begun with, the session or the API key, and the version of the account's stream as of which that
-- was good: where it ends, so does the import. Imports from before this have neither, and rest on their account alone.
ALTER TABLE imports
    ADD COLUMN session_id uuid,
    ADD COLUMN api_key_id uuid,
    ADD COLUMN account_version integer NOT NULL DEFAULT 0;

-- An upload that was given up is only marked. Its file goes an hour later, with those of finished imports: by then the
-- mark is on every standby, and nothing can make an import of the row any more.
ALTER TABLE imports DROP CONSTRAINT imports_state_check;
ALTER TABLE imports ADD CONSTRAINT imports_state_check
    CHECK (state IN ('uploading', 'waiting', 'running', 'finished', 'failed', 'abandoned'));
