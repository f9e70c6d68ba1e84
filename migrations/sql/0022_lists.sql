-- Read tables that are there already are vacuumed and analyzed as early as those that are made from now on.
DO $$
DECLARE
    read_table regclass;
BEGIN
    FOR read_table IN
        SELECT to_regclass('rm_' || projection || '_' || generation) FROM generations
    LOOP
        IF read_table IS NOT NULL THEN
            EXECUTE format(
                'ALTER TABLE %s SET (autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_scale_factor = 0.05, '
                'autovacuum_vacuum_insert_scale_factor = 0.05)', read_table);
        END IF;
    END LOOP;
END $$;
