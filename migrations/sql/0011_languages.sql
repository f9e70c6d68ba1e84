-- In which language people are written to; NULL for whichever the shop speaks. A mail keeps the one of its moment.
ALTER TABLE mail_recipients ADD COLUMN language text;
ALTER TABLE mail_ledger ADD COLUMN language text;
