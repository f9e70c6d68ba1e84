-- A digest is 32 bytes, whatever a session is set to. Two functions spell bytes as '\x…', which is an escape where
-- `standard_conforming_strings` is off: then the digest became the text of itself, and one key was taken twice.
ALTER FUNCTION document_of_columns(text[]) SET standard_conforming_strings = on;
ALTER FUNCTION batch_of_columns(text[]) SET standard_conforming_strings = on;

-- For what is written from now on: rows are not looked at, so that nobody waits while a large table is read. The lock is
-- short, but who waits for it stops all writers: better this migration breaks off, and is run again.
SET LOCAL lock_timeout = '2s';
ALTER TABLE claims ADD CONSTRAINT claims_key_digest_check CHECK (octet_length(key_digest) = 32) NOT VALID;
