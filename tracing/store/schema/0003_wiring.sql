ALTER TABLE "tracing_recorderstate" ADD COLUMN "wiring" text NULL;
