-- Words that are spelled nearly so: the catalogue's search finds them by their trigrams. A trusted extension, which the
-- database's owner may create.
CREATE EXTENSION IF NOT EXISTS pg_trgm;
