-- Erasure: whose a subscription was before a webhook's few fields replaced all that was shown of it.
CREATE TABLE former_holders (
    id BIGSERIAL NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    subscriber_id TEXT NOT NULL,
    action_subscription_id TEXT NOT NULL,
    subscriber_code TEXT NOT NULL,
    last_certificate_id TEXT NOT NULL,
    CONSTRAINT uid_former_holders_key UNIQUE (account, subscriber_id, action_subscription_id, subscriber_code, last_certificate_id)
);
