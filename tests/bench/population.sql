-- A database as months of use leave it: mirrored subscriptions under random ids, and a log of deliveries about them, spread
-- evenly over the last 180 days in the order of their arrival. {mirrored} and {logged} are filled in.

INSERT INTO action_subscriptions (
    account, action_subscription_id, state, action_id, subscriber_id, subscriber_type, subtenant_id, tenant_id, action_type,
    action_code, action_name, status, flags, hint_deleted, hint_received_at, hint_fingerprint)
SELECT
    'hse', md5('subject-' || n)::uuid::text, CASE WHEN n % 10 = 0 THEN 'deleted' ELSE 'live' END, gen_random_uuid()::text,
    gen_random_uuid()::text, 'PERSON', 'a1b2c3d4-e5f6-7890-abcd-ef1234567890', 'b5a7d602-3fc9-4e2a-9d1a-6e5b4c8f7a01', 'TRAINING',
    'FST-' || n % 100, 'Fire Safety Training Medium Risk', 'VALID', '[]', n % 10 = 0,
    now() - interval '180 days' * (1 - n::float / {mirrored}), sha256(n::text::bytea)
FROM generate_series(1, {mirrored}) AS n;

INSERT INTO deliveries (
    id, source, account, vendor, event, received_at, headers, body, fingerprint, week, state, subject, attempts, state_at)
SELECT
    -- UUIDv7: the milliseconds of its arrival, then random bits.
    (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(random, 1, 3) || '8' || substr(random, 4, 15))::uuid,
    'hse', 'hse', '4hse', 'ACTION_SUBSCRIPTION::CREATE', at, '{"content-type": "application/json", "user-agent": "4HSE-Webhook/2.0"}',
    rpad('{"action_subscription_id":"' || subject || '","action_id":"' || md5(random), 330, 'x')::bytea, sha256(random::bytea),
    floor(extract(epoch FROM at) / 604800)::int, 'applied', subject, 1, at + interval '50 milliseconds'
FROM (
    SELECT
        now() - interval '180 days' * (1 - n::float / {logged}) AS at, md5(n::text || random()::text) AS random,
        md5('subject-' || (1 + n % {mirrored}))::uuid::text AS subject
    FROM generate_series(1, {logged}) AS n
) AS arrived;
