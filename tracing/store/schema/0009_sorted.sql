CREATE INDEX "tracing_trace_dispatches" ON "tracing_trace" ("dispatch_count");
CREATE INDEX "tracing_trace_queries" ON "tracing_trace" ("query_count");
CREATE INDEX "tracing_trace_errors" ON "tracing_trace" ("error_count");
CREATE INDEX "tracing_trace_hazards" ON "tracing_trace" ("hazard_count");
