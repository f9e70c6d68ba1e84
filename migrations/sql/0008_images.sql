-- The pictures of products that are in the storage, or on their way there. `look_at` is when to look whether the product
-- is still shown by this one; NULL as long as that is known. Written before the bytes are, so that none is overlooked.
CREATE TABLE image_files (
    product_id uuid NOT NULL,
    file       text NOT NULL,
    look_at    timestamptz,
    PRIMARY KEY (product_id, file)
);
CREATE INDEX image_files_look ON image_files (look_at) WHERE look_at IS NOT NULL;
