-- What a spreadsheet leaves below its table: neither done nor failed.
ALTER TABLE imports ADD COLUMN skipped integer NOT NULL DEFAULT 0;
