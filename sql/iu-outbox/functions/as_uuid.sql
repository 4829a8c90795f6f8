-- Returns a text as a UUID, or NULL if it is not one.
CREATE OR REPLACE FUNCTION iu_outbox.as_uuid(p_text text) RETURNS uuid
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN p_text ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$' THEN p_text::uuid END
$$;
