CREATE TABLE "tracing_pathrollup" ("id" integer NOT NULL PRIMARY KEY AUTOINCREMENT, "hour" integer unsigned NOT NULL CHECK ("hour" >= 0), "writer" varchar(16) NOT NULL, "signal_id" bigint NOT NULL, "sender_id" bigint NOT NULL, "label_id" bigint unsigned NOT NULL CHECK ("label_id" >= 0), "tree" BLOB NOT NULL, CONSTRAINT "tracing_path_once" UNIQUE ("signal_id", "sender_id", "label_id", "hour", "writer"));
CREATE INDEX "tracing_path_sender" ON "tracing_pathrollup" ("sender_id", "hour");
CREATE INDEX "tracing_path_hour" ON "tracing_pathrollup" ("hour");
