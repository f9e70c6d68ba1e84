-- From here on an append gives it back with the event that ends the sale. No product is ended in between.
SELECT lock_log();
DELETE FROM claims c USING events e
WHERE c.scope = 'sku' AND e.type = 'product.discontinued' AND e.stream_id = c.stream_id;
