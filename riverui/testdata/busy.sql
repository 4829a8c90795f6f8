SET session_replication_role = replica;

-- 61 templates.
CREATE TEMP TABLE shelf ON COMMIT PRESERVE ROWS AS
SELECT row_number() OVER () AS n, key FROM (
    SELECT unnest(ARRAY['order-confirmation', 'shipping-notice', 'invoice', 'payment-reminder', 'welcome-letter', 'password-reset', 'refund-receipt',
                        'review-request', 'gift-card', 'loyalty-statement', 'back-in-stock'])
    UNION ALL
    SELECT f || '-' || l FROM unnest(ARRAY['spring', 'summer', 'autumn', 'winter', 'members']) AS f,
                              unnest(ARRAY['catalogue', 'offer', 'invitation', 'survey', 'newsletter', 'voucher', 'poster', 'letter', 'flyer', 'card']) AS l) AS k (key);
CREATE TEMP TABLE tpl ON COMMIT PRESERVE ROWS AS SELECT n, key, gen_random_uuid() AS id FROM shelf;
INSERT INTO public.iu_piece (piece_key, body, created_by) VALUES ('shop/text', '{}', 'ann');
INSERT INTO public.iu_piece_collection (id, collection_key, title, created_by) SELECT id, key, initcap(replace(key, '-', ' ')), 'ann' FROM tpl;
INSERT INTO public.iu_piece_membership (collection_id, piece_id, position) SELECT t.id, p.id, 1 FROM tpl AS t, public.iu_piece AS p WHERE p.piece_key = 'shop/text';
INSERT INTO public.iu_collection_template_registry (collection_id, is_template, marked_by, marked_at) SELECT id, n <> 9, 'ann', now() FROM tpl;

-- Announced events: the last hour's; and one instance, so that something was composed.
INSERT INTO iu_outbox.emission (position, instance_collection_id, event, created_at, emitted_at)
SELECT n, gen_random_uuid(), '{"type": "iu.template.instance_auto_composed"}', now() - interval '20 s' - (39000 - n) * interval '0.036 s',
       now() - interval '20 s' - (39000 - n) * interval '0.036 s' + interval '6 ms'
FROM generate_series(1, 39000) AS n;
UPDATE iu_outbox.emission_counter SET position = 39000;
INSERT INTO public.iu_piece_collection (collection_key, title, created_by) VALUES ('tpl-inst:auto:order-1', 'Order 1', 'shop');
INSERT INTO public.iu_collection_template_instance_lineage (instance_collection_id, template_collection_id, recorded_by)
SELECT i.id, t.id, 'shop' FROM public.iu_piece_collection AS i, tpl AS t WHERE i.collection_key = 'tpl-inst:auto:order-1' AND t.n = 1;
ALTER TABLE public.iu_auto_instantiate_event_log DISABLE TRIGGER USER;
INSERT INTO public.iu_auto_instantiate_event_log (instance_collection_id, template_collection_id, event_id, event_type, idempotency_key, emit_mode, triggered_by)
SELECT i.id, t.id, gen_random_uuid(), 'order.placed', md5('1'), 'live', 'shop' FROM public.iu_piece_collection AS i, tpl AS t
WHERE i.collection_key = 'tpl-inst:auto:order-1' AND t.n = 1;
ALTER TABLE public.iu_auto_instantiate_event_log ENABLE TRIGGER USER;
DO $$
DECLARE
    v_trigger name;
BEGIN
    FOR v_trigger IN SELECT t.tgname FROM pg_trigger AS t WHERE t.tgrelid = 'public.iu_auto_instantiate_event_log'::regclass AND NOT t.tgisinternal LOOP
        EXECUTE format('ALTER TABLE public.iu_auto_instantiate_event_log ENABLE ALWAYS TRIGGER %I', v_trigger);
    END LOOP;
END $$;

-- A gate that is closed, and what waits for it.
UPDATE public.dot_config SET value = 'true', updated_by = 'ann', updated_at = now() - interval '6 days' WHERE key = 'iu_core.composer_enabled';
UPDATE public.dot_config SET value = 'false', updated_by = 'ann', updated_at = now() - interval '20 s' WHERE key = 'iu_core.auto_instantiate_enabled';
INSERT INTO iu_river.river_job (state, attempt, max_attempts, created_at, scheduled_at, priority, args, kind, metadata, queue)
SELECT 'scheduled', 1, 10, now() - interval '20 s' * (n / 10412.0), now() + interval '1 day', 1,
       jsonb_build_object('event_id', gen_random_uuid(), 'actor', 'shop'), 'auto_instantiate', '{"parked": {"gate": "auto-instantiate"}}', 'events'
FROM generate_series(1, 10412) AS n;

-- Events that ended badly.
INSERT INTO iu_outbox.dead_letter (job_id, status, detail, event_id, idempotency_key, event, queue, attempts, created_at)
SELECT 1000000 + g.n, CASE WHEN g.n <= 24 THEN 'instance_key_conflict' ELSE 'template_not_marked' END,
       CASE WHEN g.n <= 24 THEN 'the key tpl-inst:auto:order-' || g.n || ' exists' ELSE 'gift-card is not marked as a template' END, e.id, md5('d' || g.n),
       jsonb_build_object('event_id', e.id, 'event_type', 'order.placed', 'template_collection_id', t.id, 'instance_key_suffix', 'order-' || g.n,
           'emit_mode', 'live', 'actor', CASE WHEN g.n <= 24 THEN 'mobile-app' ELSE 'billing' END), 'events', 1,
       date_trunc('minute', now()) - CASE WHEN g.n <= 24 THEN interval '95 min' ELSE interval '22 min' END + g.n * interval '0.3 s'
FROM generate_series(1, 99) AS g (n) CROSS JOIN LATERAL (SELECT gen_random_uuid() AS id WHERE g.n > 0) AS e JOIN tpl AS t ON t.n = CASE WHEN g.n <= 24 THEN 3 ELSE 9 END;

-- Consumers.
INSERT INTO iu_outbox.consumer (name, epoch, position, updated_at, created_at)
SELECT c.name, e.epoch, c.position, now() - c.ago, now() - interval '20 days'
FROM iu_outbox.emission_counter AS e, (VALUES
    ('analytics', 39000, interval '20 s'), ('search-index', 555, interval '84 min'), ('data-warehouse', 9370, interval '52 min'),
    ('mailer', 39000, interval '20 s'), ('loyalty-points', 39000, interval '20 s'), ('print-centre', 38991, interval '1 s')) AS c (name, position, ago);
INSERT INTO iu_outbox.consumer_lease (consumer, process, lease_until, acquired_at)
SELECT c.name, c.name || '-1', now() + interval '5 min', now() - interval '2 days'
FROM iu_outbox.consumer AS c WHERE c.name NOT IN ('search-index', 'data-warehouse');

-- What people did.
INSERT INTO iu_outbox.audit (at, actor, action, detail)
SELECT now() - a.ago, a.actor, a.action, a.detail::jsonb FROM (VALUES
    (interval '6 days', 'ann', 'gate.open', '{"gate": "composer"}'), (interval '3 h', 'ben', 'dead_letter.retry', '{"count": 31, "status": "template_not_found"}'),
    (interval '2 h', 'ann', 'consumer.reset', '{"consumer": "print-centre", "to": "beginning"}'),
    (interval '47 min', 'ben', 'setting.set', '{"name": "lanes", "value": "8"}'),
    (interval '31 min', 'ann', 'queue.pause', '{"queue": "scaleout"}'), (interval '12 min', 'ben', 'dead_letter.drop', '{"count": 1, "status": "instance_key_conflict"}'),
    (interval '20 s', 'ann', 'gate.close', '{"gate": "auto-instantiate"}')) AS a (ago, actor, action, detail) ORDER BY a.ago DESC;
INSERT INTO iu_river.river_queue (name, created_at, updated_at, metadata, paused_at)
VALUES ('scaleout', now(), now(), '{}', now() - interval '31 min')
ON CONFLICT (name) DO UPDATE SET paused_at = EXCLUDED.paused_at;
INSERT INTO iu_outbox.verification (at, seconds, wrong) VALUES (now() - interval '2 h', 4, 0);

-- The jobs of the last minute.
INSERT INTO iu_river.river_job (state, attempt, max_attempts, attempted_at, created_at, finalized_at, scheduled_at, priority, args, kind, metadata, queue)
SELECT 'completed', 1, 10, j.at, j.at, j.at + interval '1 ms' * (5 + g.n % 8), j.at, 1,
       jsonb_build_object('event_id', gen_random_uuid(), 'template_collection_id', t.id, 'created_at', to_char(j.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')),
       'auto_instantiate', '{"output": {"status": "instantiated"}}', 'events'
FROM generate_series(1, 1680) AS g (n) CROSS JOIN LATERAL (SELECT now() - interval '20 s' - g.n * interval '0.0238 s' AS at) AS j JOIN tpl AS t ON t.n = 1;

-- Seven days of history: busy by day, quiet by night.
TRUNCATE iu_outbox.history, iu_outbox.history_consumer, iu_outbox.history_template;
INSERT INTO iu_outbox.history (at, counted_at, event_seq, inserted, composed, scaleout, dry_run, dead, announced, measured, p50, p95, announce_p95,
                               outbox, outbox_age, unannounced, unannounced_age, parked_composer, parked_auto_instantiate, held, workers, started, versions)
SELECT m.at, m.at + interval '1 min 1 s', 0, m.n, CASE WHEN m.old THEN m.n ELSE 0 END,
       CASE WHEN m.i BETWEEN 18 AND 26 THEN 1400 + 90 * (m.i % 4) WHEN m.i BETWEEN 400 AND 420 THEN 9000 ELSE 0 END, 0,
       CASE WHEN m.i = 22 THEN 75 WHEN m.i = 95 THEN 24 ELSE 0 END, CASE WHEN m.old THEN m.n ELSE 0 END, CASE WHEN m.old THEN m.n ELSE 0 END,
       CASE WHEN m.old THEN 0.006 + 0.002 * abs(sin(m.i / 7.0)) END, CASE WHEN m.old THEN 0.012 + 0.009 * abs(sin(m.i / 11.0)) + CASE WHEN m.i BETWEEN 18 AND 26 THEN 0.06 ELSE 0 END END,
       0.008, m.i % 3, 0.02, 0, 0, 0, CASE WHEN m.old THEN 0 ELSE 0 END, 0, 2, CASE WHEN m.i = 38 THEN 2 ELSE 0 END,
       CASE WHEN m.i > 38 THEN ARRAY['1.2.2'] ELSE ARRAY['1.2.3'] END
FROM (SELECT i, date_trunc('minute', now()) - i * interval '1 min' AS at, true AS old,
             (1500 + 900 * sin(i / 229.0) + 260 * sin(i / 5.0) + 170 * sin(i / 1.7))::integer AS n
      FROM generate_series(1, 10079) AS i) AS m
ON CONFLICT DO NOTHING;
INSERT INTO iu_outbox.history_consumer (at, consumer, lag)
SELECT h.at, c.name, CASE c.name
           WHEN 'search-index' THEN GREATEST(0, 38445 - i * 458) WHEN 'data-warehouse' THEN GREATEST(0, 29630 - i * 570)
           WHEN 'print-centre' THEN 9 + (i % 7) ELSE 0 END
FROM (SELECT at, row_number() OVER (ORDER BY at DESC) AS i FROM iu_outbox.history) AS h, iu_outbox.consumer AS c
ON CONFLICT DO NOTHING;
INSERT INTO iu_outbox.history_template (at, template_collection_id, composed, dead, p95)
SELECT m.at, t.id, GREATEST(0, (4200 / (t.n * 0.9) + 900 / t.n * sin(m.i / 3.0 + t.n)) * CASE WHEN m.i = 0 THEN 0.2 ELSE 1 END)::integer,
       CASE WHEN m.i = 4 AND t.n = 9 THEN 75 WHEN m.i = 19 AND t.n = 3 THEN 24 ELSE 0 END, 0.010 + 0.002 * (t.n % 7)
FROM (SELECT i, date_bin('5 minutes', now(), '2000-01-01 00:00:00+00') - i * interval '5 min' AS at FROM generate_series(0, 2015) AS i) AS m, tpl AS t
WHERE t.n <= 24
ON CONFLICT DO NOTHING;
-- The outbox gave 42 ids a second since the last minute was counted.
SELECT setval('iu_outbox.event_id_seq', 5000000);
UPDATE iu_outbox.history SET event_seq = 5000000 - (42 * EXTRACT(EPOCH FROM now() - counted_at))::bigint WHERE counted_at IS NOT NULL;

RESET session_replication_role;
