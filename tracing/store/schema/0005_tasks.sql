CREATE TABLE "tracing_tasklink" ("id" integer NOT NULL PRIMARY KEY, "task_id" varchar(200) NOT NULL, "ran" bool NOT NULL, "trace_id" bigint NULL);
CREATE INDEX "tracing_tasklink_trace_id_97317a49" ON "tracing_tasklink" ("trace_id");
CREATE INDEX "tracing_task_link" ON "tracing_tasklink" ("task_id", "ran");
