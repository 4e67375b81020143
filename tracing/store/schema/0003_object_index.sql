CREATE TABLE "tracing_objectindex" ("id" integer NOT NULL PRIMARY KEY, "entries" BLOB NOT NULL);
