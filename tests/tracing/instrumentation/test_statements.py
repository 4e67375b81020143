"""Statements lose their values, however those are written."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tracing.instrumentation.assembly import statements
from tracing.instrumentation.assembly.statements import normalised, quotes_text


@pytest.mark.parametrize(
    ("sql", "kept"),
    [
        ("SELECT * FROM t WHERE a = 'it''s secret' AND b=12.5e3", "SELECT * FROM t WHERE a = ? AND b=?"),
        ("SELECT $tag$secret$tag$, $$secret$$ FROM t", "SELECT ?, ? FROM t"),
        ("SELECT $$secret", "SELECT ?"),
        (r"SELECT E'it\'s secret', x", "SELECT ?, x"),
        (r"SELECT 'it\'s secret', x", "SELECT ?"),
        (r"SELECT a WHERE x LIKE %s ESCAPE '\' AND y = 'secret'",
         "SELECT a WHERE x LIKE %s ESCAPE ? AND y = ?"),
        ("SELECT x'5ec3e7', 0x5EC3E7, b'0101', N'secret', U&'secret'", "SELECT ?, ?, ?, ?, ?"),
        ("SELECT q'[it's secret]', 1 FROM dual", "SELECT ?, ? FROM dual"),
        ("SELECT 1 /* secret /* secret */ secret */", "SELECT ?"),
        ("SELECT 1 -- secret\nFROM t", "SELECT ? FROM t"),
        ("SELECT 1 # secret\nFROM t", "SELECT ? FROM t"),
        ("SELECT a #>> '{secret}' FROM t", "SELECT a #>> ? FROM t"),
        ("SELECT 'secret", "SELECT ?"),
        ("SELECT a /* secret", "SELECT a"),
        ('SELECT "secret', "SELECT ?"),
        ('SELECT "a"."b" FROM "a" WHERE "a"."b" = "secret"', 'SELECT "a"."b" FROM "a" WHERE "a"."b" = ?'),
        ('SELECT 1 FROM "a" JOIN "c" ON "c"."x" = "a"."y"',
         'SELECT ? FROM "a" JOIN "c" ON "c"."x" = "a"."y"'),
        ('SELECT a FROM t WHERE z IN ("secret", "secret two")', "SELECT a FROM t WHERE z IN (…)"),
        ('INSERT INTO "t" ("a", "b") VALUES (%s, "secret")', 'INSERT INTO "t" ("a", "b") VALUES (…)'),
        ('SELECT `a` FROM `t` WHERE b = "secret"', "SELECT `a` FROM `t` WHERE b = ?"),
        ("SELECT col1, t2.x FROM a2 WHERE id IN (%s, %s, %s)", "SELECT col1, t2.x FROM a2 WHERE id IN (…)"),
        ('SAVEPOINT "s1234"', "SAVEPOINT"),
        ('RELEASE SAVEPOINT "s1234"', "RELEASE SAVEPOINT"),
        ("SELECT  a,\n  b", "SELECT a, b"),
    ],
)  # fmt: skip
def test_values_are_taken_out(sql, kept):
    assert normalised(sql) == kept


@pytest.mark.parametrize("length", range(8, 90))
def test_a_statement_that_was_cut_off_keeps_no_value(length):
    sql = """SELECT 'secret' /* secret */, $a$secret$a$, E'secret' WHERE a = "secret two" """

    assert "secre" not in normalised(sql[:length])


def test_in_mysql_double_quotes_hold_text_and_a_backslash_escapes():
    sql = r"""SELECT CONCAT("secret", 'it\'s secret') FROM t WHERE x = "a\"secret" """

    assert normalised(sql, mysql=True) == "SELECT CONCAT(…) FROM t WHERE x = ?"


def test_which_databases_quote_text_so(monkeypatch):
    engines = {"default": "django.db.backends.mysql", "other": "django.db.backends.postgresql"}
    databases = {alias: {"ENGINE": engine} for alias, engine in engines.items()}
    monkeypatch.setattr(statements, "settings", SimpleNamespace(DATABASES=databases))

    assert [quotes_text(alias) for alias in ("default", "other", "none")] == [True, False, False]
