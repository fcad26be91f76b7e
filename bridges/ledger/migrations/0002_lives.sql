-- An id is free again once the log's window has passed: its next task begins the row anew, and has a bill of its own.
ALTER TABLE tasks ADD COLUMN accepted_sequence bigint;

ALTER TABLE usage_billing DROP CONSTRAINT usage_billing_pkey, ADD PRIMARY KEY (tenant_id, task_id, sequence);
