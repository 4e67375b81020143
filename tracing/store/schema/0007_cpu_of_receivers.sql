ALTER TABLE "tracing_rollup" ADD COLUMN "cpu_ns" bigint NULL;
DROP INDEX "tracing_rollup_sums";
CREATE INDEX "tracing_rollup_sums" ON "tracing_rollup" ("receiver_id", "hour", "signal_id", "sender_id", "count", "error_count", "total_ns", "query_count", "query_ns", "cpu_ns");
