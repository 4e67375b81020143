CREATE TABLE "tracing_statementlabel" ("id" integer NOT NULL PRIMARY KEY AUTOINCREMENT, "key" varchar(32) NOT NULL UNIQUE, "statement" text NOT NULL);
