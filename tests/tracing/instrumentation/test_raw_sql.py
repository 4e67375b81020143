"""What an application writes by its own SQL: which tables, past which receivers."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, User
from django.db import connection, models
from django.db.models.signals import post_delete, post_save

from tests.tracing.instrumentation.conftest import recording
from tracing.instrumentation.database.bypass import _tables_of_relations
from tracing.instrumentation.database.raw_sql import tables_written, writes_past_receivers
from tracing.instrumentation.patching import instrument


@pytest.mark.parametrize(
    ("sql", "written"),
    [
        ("UPDATE shop_node SET depth = depth + 1", [("update", "shop_node")]),
        ('update "public"."shop_node" set x = 1', [("update", "shop_node")]),
        ("UPDATE `db`.`shop_node` AS n SET n.x = 1", [("update", "shop_node")]),
        ("UPDATE ONLY shop_node n SET x = 1", [("update", "shop_node")]),
        ("UPDATE a, b AS c, d SET a.x = 1", [("update", "a"), ("update", "b"), ("update", "d")]),
        ("UPDATE OR IGNORE shop_node SET x = 1", [("update", "shop_node")]),
        ("INSERT INTO shop_node (depth) VALUES (%s)", [("insert", "shop_node")]),
        ("insert or replace into [shop node](x) values (1)", [("insert", "shop node")]),
        ("INSERT INTO a SELECT * FROM b", [("insert", "a")]),
        ("REPLACE INTO shop_node VALUES (1)", [("replace", "shop_node")]),
        ("DELETE FROM shop_node WHERE id IN (SELECT id FROM other)", [("delete", "shop_node")]),
        ("DELETE n FROM shop_node n JOIN b ON b.id = n.id", [("delete", "shop_node")]),
        ("TRUNCATE TABLE a, public.b RESTART IDENTITY", [("truncate", "a"), ("truncate", "b")]),
        (
            "MERGE INTO shop_node t USING b ON t.id = b.id WHEN MATCHED THEN UPDATE SET x = 1",
            [("merge", "shop_node")],
        ),
        (
            "WITH gone AS (DELETE FROM a RETURNING *) INSERT INTO b SELECT * FROM gone",
            [("delete", "a"), ("insert", "b")],
        ),
        ("/* UPDATE x */ -- DELETE FROM y\n UPDATE shop_node SET x = 1", [("update", "shop_node")]),
        ("UPDATE a SET x = 1; DELETE FROM b", [("update", "a"), ("delete", "b")]),
        (
            "INSERT INTO a (x) VALUES (1) ON CONFLICT (x) DO UPDATE SET x = 2",
            [("insert", "a")],
        ),
        ("INSERT INTO a (x) VALUES (1) ON DUPLICATE KEY UPDATE x = 2", [("insert", "a")]),
        ("SELECT * FROM shop_node FOR UPDATE", []),
        ("SELECT * FROM shop_node FOR NO KEY UPDATE", []),
        ("SELECT 'UPDATE shop_node SET x', replace(name, 'a', 'b') FROM c", []),
        ("SELECT $tag$ DELETE FROM shop_node $tag$", []),
        ('SELECT "update", t.delete, insert FROM t', []),
        ("EXPLAIN DELETE FROM shop_node", []),
        ("UPDATE", []),
        ("", []),
    ],
)
def test_tables_that_a_statement_writes_to(sql, written):
    assert list(tables_written(sql)) == written


@pytest.fixture
def traced(stock, keeper, no_failures):
    undo = instrument()
    yield
    undo()


def on_group(**named):
    """Keep the groups in step."""


@pytest.fixture
def connected():
    post_save.connect(on_group, sender=Group)
    post_delete.connect(on_group, sender=Group)
    yield
    post_save.disconnect(on_group, sender=Group)
    post_delete.disconnect(on_group, sender=Group)


def bypasses(trace):
    return [(found.operation, found.model, found.rows) for found in trace.bypasses]


@pytest.mark.django_db
@pytest.mark.usefixtures("traced", "connected")
def test_sql_of_the_application_is_a_bypass_of_the_models_receivers():
    Group.objects.create(name="a")
    with recording() as recorded, connection.cursor() as cursor:
        cursor.execute("UPDATE auth_group SET name = 'UPDATE auth_user'")
        cursor.execute('  -- once\n  update "auth_group" set name = %s', ["b"])
        cursor.executemany("INSERT INTO auth_group (name) VALUES (%s)", [["c"], ["d"]])
        cursor.execute("UPDATE auth_group SET name = 'e' WHERE name = 'nobody'")
        cursor.execute("DELETE FROM auth_group WHERE name = 'c'")
        cursor.execute("UPDATE auth_user SET username = 'x'")
        cursor.execute("SELECT name FROM auth_group")

    assert bypasses(recorded.trace) == [
        ("sql_update", "auth.Group", 1),
        ("sql_update", "auth.Group", 1),
        ("sql_insert", "auth.Group", 2),
        ("sql_delete", "auth.Group", 1),
    ]
    first = recorded.trace.bypasses[0]
    assert first.signals == ("django.db.models.signals.post_save",)
    assert [label.name.rpartition(".")[2] for label in first.receivers] == ["on_group"]
    assert first.callsite.file == __file__


@pytest.mark.django_db
@pytest.mark.usefixtures("traced", "connected")
def test_sql_of_a_receiver_belongs_to_its_call_and_the_orms_own_is_none():
    def by_cursor(**named):
        with connection.cursor() as cursor:
            cursor.execute("UPDATE auth_group SET name = 'b'")

    Group.objects.create(name="a")
    post_save.connect(by_cursor, sender=User, weak=False)
    try:
        with recording() as recorded:
            user = User.objects.create(username="u")
            user.groups.add(Group.objects.get())
            Group.objects.get().save()
            Group.objects.all().delete()
    finally:
        post_save.disconnect(by_cursor, sender=User)

    assert bypasses(recorded.trace) == [("sql_update", "auth.Group", 1)]
    (bypass,) = recorded.trace.bypasses
    calls = [call for root in recorded.trace.roots for call in root.receiver_calls]
    (call,) = (call for call in calls if call.receiver.name.endswith("by_cursor"))
    assert (bypass.operation, bypass.parent_number) == ("sql_update", call.number)


def later(table):
    """Return two models that one test defines, joined by a third."""
    meta = type("Meta", (), {"app_label": "auth", "db_table": table})
    pair = type("Meta", (), {"app_label": "auth", "db_table": f"{table}_pair"})

    class Later(models.Model):
        groups = models.ManyToManyField(Group, through="auth.LaterPair", related_name="+")
        Meta = meta

    class LaterPair(models.Model):
        group = models.ForeignKey(Group, models.CASCADE, related_name="+")
        later = models.ForeignKey(Later, models.CASCADE, related_name="+")
        Meta = pair

    return Later


@pytest.mark.parametrize("table", ["later_one", "later_two"])
def test_models_that_a_test_defines_are_noticed_and_forgotten(table):
    def on_later(**named):
        """Hear nothing of SQL."""

    update = f"UPDATE {table} SET id = 1"
    known = _tables_of_relations(), writes_past_receivers(update)
    model = later(table)
    try:
        post_save.connect(on_later, sender=model)
        assert [found[:2] for found in writes_past_receivers(update)] == [
            ("sql_update", "auth.Later")
        ]
        assert _tables_of_relations() == known[0] | {f"{table}_pair"}
    finally:
        post_save.disconnect(on_later, sender=model)
        del apps.all_models["auth"]["later"], apps.all_models["auth"]["laterpair"]
        apps.clear_cache()
    assert (_tables_of_relations(), writes_past_receivers(update)) == known
