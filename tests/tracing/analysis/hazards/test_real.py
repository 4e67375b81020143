"""Each rule on real dispatches: real signals, models, transactions and receivers, recorded."""

from __future__ import annotations

import asyncio
import functools
import gc
import importlib.util
import json
import socket
import time
from contextlib import contextmanager, suppress

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.core.mail import EmailMessage, get_connection, send_mail, send_mass_mail
from django.core.management import call_command
from django.db import transaction
from django.db.models import signals
from django.dispatch import Signal

from tests.conftest import UNHURRIED
from tracing.spans.records import Kind
from tracing.testing import capture_dispatches

pytestmark = [
    pytest.mark.django_db(transaction=True, databases="__all__"),
    pytest.mark.usefixtures("unhurried"),
    # From Django 6.1 on, mail without MAILERS warns; what is tested is that it is sent.
    pytest.mark.filterwarnings("ignore:.*MAILERS"),
]

placed = Signal()


@contextmanager
def connected(signal, receiver, **options):
    """Connect a receiver for the block."""
    signal.connect(receiver, **options)
    try:
        yield receiver
    finally:
        signal.disconnect(
            receiver, sender=options.get("sender"), dispatch_uid=options.get("dispatch_uid")
        )


def ids(captured):
    return sorted({hazard.hazard for hazard in captured.hazards})


def only(captured, name):
    (hazard,) = [hazard for hazard in captured.hazards if hazard.hazard == name]
    return hazard


@pytest.fixture
def group():
    return Group.objects.create(name="sellers")


# --- duplicate-receiver --------------------------------------------------------------------------

SOURCE = """
def index(sender, **kwargs):
    pass
"""


def module_twice(path):
    """Import one file under two names, as a wrong entry in sys.path does."""
    path.write_text(SOURCE)
    modules = []
    for name in ("shop.receivers", "src.shop.receivers"):
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        modules.append(module)
    return modules


def test_duplicate_receiver_of_two_import_paths(tmp_path, group):
    first, second = module_twice(tmp_path / "receivers.py")
    with (
        connected(signals.post_save, first.index, sender=Group),
        connected(signals.post_save, second.index, sender=Group),
        capture_dispatches() as captured,
    ):
        group.save()

    hazard = only(captured, "duplicate-receiver")
    assert "it is connected as shop.receivers.index and as src.shop.receivers.index" in (
        hazard.message
    )


def make(*bound):
    def receive(sender, **kwargs):
        return len(bound)

    return receive


class Indexer:
    def __init__(self, name):
        self.name = name

    def on_save(self, sender, **kwargs):
        pass

    def __call__(self, sender, **kwargs):
        pass


def plain(sender, **kwargs):
    pass


PAIRS = {
    "factory": lambda: (make("a"), make("a")),
    "partials": lambda: (functools.partial(plain, a=1), functools.partial(plain, a=1)),
    "methods": lambda: (Indexer("a").on_save, Indexer("a").on_save),
    "objects": lambda: (Indexer("a"), Indexer("a")),
    "uids": lambda: (plain, plain),
}
DIFFERENT = {
    "factory": lambda: (make("a"), make("b")),
    "partials": lambda: (functools.partial(plain, a=1), functools.partial(plain, a=2)),
    "methods": lambda: (Indexer("a").on_save, Indexer("b").on_save),
    "objects": lambda: (Indexer("a"), Indexer("b")),
    "names": lambda: (plain, make("a")),
}


@pytest.mark.parametrize("how", PAIRS)
def test_duplicate_receiver_in_disguise(how, group):
    first, second = PAIRS[how]()
    with (
        connected(placed, first, weak=False, dispatch_uid="a"),
        connected(placed, second, weak=False, dispatch_uid="b"),
        capture_dispatches() as captured,
    ):
        placed.send(sender=None)

    assert ids(captured) == ["duplicate-receiver"]


@pytest.mark.parametrize("how", DIFFERENT)
def test_duplicate_receiver_leaves_alone(how):
    first, second = DIFFERENT[how]()
    with (
        connected(placed, first, weak=False, dispatch_uid="a"),
        connected(placed, second, weak=False, dispatch_uid="b"),
        capture_dispatches() as captured,
    ):
        placed.send(sender=None)

    assert ids(captured) == []


def decorated(function):
    """Wrap without ``functools.wraps``, as many projects do."""

    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


@pytest.mark.parametrize("wrap", [decorated, functools.partial])
def test_duplicate_receiver_connected_plainly_and_wrapped(wrap):
    second = wrap(plain)
    with (
        connected(placed, plain),
        connected(placed, second),
        capture_dispatches() as captured,
    ):
        placed.send(sender=None)

    assert ids(captured) == ["duplicate-receiver"]


def test_duplicate_receiver_leaves_functions_without_a_file_alone():
    spaces = [{"__name__": name} for name in ("shop.a", "shop.b")]
    for space in spaces:
        exec(f"def index(sender, **kwargs):\n    return {space['__name__']!r}", space)
    with (
        connected(placed, spaces[0]["index"]),
        connected(placed, spaces[1]["index"]),
        capture_dispatches() as captured,
    ):
        placed.send(sender=None)

    assert ids(captured) == []


def test_finding_names_the_function_that_a_decorator_wraps():
    wrapped = decorated(broken)
    with connected(placed, wrapped), capture_dispatches() as captured:
        placed.send_robust(sender=None)

    hazard = only(captured, "swallowed-error")
    assert hazard.receiver == f"{__name__}.broken"
    assert (hazard.file, hazard.line) == (__file__, broken.__code__.co_firstlineno)


# --- recursion and repeated-save -----------------------------------------------------------------


def again_and_again(sender, instance, **kwargs):
    if len(instance.name) < 12:
        instance.name += "!"
        instance.save()


def when_created(sender, instance, created, **kwargs):
    if created:
        instance.name += "!"
        instance.save()


def narrowly(sender, instance, update_fields=None, **kwargs):
    if update_fields is None:
        instance.save(update_fields=["name"])


def with_a_flag(sender, instance, **kwargs):
    if not getattr(instance, "_again", False):
        instance._again = True
        instance.save()


def by_update(sender, instance, **kwargs):
    Group.objects.filter(pk=instance.pk).update(name=f"{instance.name}!")


def test_recursion_and_repeated_save_of_an_instance_saved_again_and_again(group):
    with (
        connected(signals.post_save, again_and_again, sender=Group),
        capture_dispatches(kind=Kind.COMMAND) as captured,
    ):
        group.save()

    assert ids(captured) == ["recursion", "repeated-save"]
    assert "again_and_again" in only(captured, "recursion").message


@pytest.mark.usefixtures("uncollected")
def test_recursion_until_pythons_limit(group):
    def forever(sender, instance, **kwargs):
        placed.send(sender=sender, instance=instance)

    with (
        connected(placed, forever),
        capture_dispatches() as captured,
        pytest.raises(RecursionError),
    ):
        placed.send(sender=Group, instance=group)

    assert "recursion" in ids(captured)


def test_recursion_of_an_async_signal(group):
    async def twice(sender, instance, level=0, **kwargs):
        if level < 2:
            await placed.asend(sender=sender, instance=instance, level=level + 1)

    async def go():
        await placed.asend(sender=Group, instance=group)

    with connected(placed, twice), capture_dispatches() as captured:
        async_to_sync(go)()

    assert "recursion" in ids(captured)


def test_recursion_through_another_model(group):
    user = User.objects.create(username="buyer")
    seen = []

    def save_user(sender, instance, **kwargs):
        user.save()

    def save_group(sender, instance, **kwargs):
        if not seen:
            seen.append(instance)
            group.save()

    with (
        connected(signals.post_save, save_user, sender=Group),
        connected(signals.post_save, save_group, sender=User),
        capture_dispatches() as captured,
    ):
        group.save()

    hazard = only(captured, "recursion")
    assert "save_user" in hazard.message
    assert "save_group" in hazard.message


def test_recursion_and_repeated_save_before_a_new_instance_has_a_key():
    with (
        connected(signals.pre_save, again_and_again, sender=Group),
        capture_dispatches() as captured,
    ):
        Group(name="new").save()

    assert ids(captured) == ["recursion", "repeated-save"]
    assert "saves a new auth.Group again" in only(captured, "repeated-save").message


def test_tree_of_new_instances_is_left_alone():
    def save_another(sender, instance, **kwargs):
        if len(instance.name) < 5:
            Group(name=f"{instance.name}!").save()

    with (
        connected(signals.pre_save, save_another, sender=Group),
        capture_dispatches() as captured,
    ):
        Group(name="new").save()

    assert ids(captured) == []


def test_recursion_of_an_instance_under_another_name(group):
    def ring(sender, group, level=0, **kwargs):
        if level < 2:
            placed.send(sender=sender, group=group, level=level + 1)

    with connected(placed, ring), capture_dispatches() as captured:
        placed.send(sender=Group, group=group)

    assert ids(captured) == ["recursion"]
    assert f"of auth.Group:{group.pk} nests in itself, 3 levels" in captured.hazards[0].message


def test_second_save_that_follows_from_creation_is_left_alone():
    """A new row has a part made, whose receiver saves the row once more."""

    def make_user(sender, instance, created, **kwargs):
        if created:
            User.objects.create(username=instance.name)

    def save_group(sender, instance, created, **kwargs):
        group = Group.objects.get(name=instance.username)
        group.save()

    with (
        connected(signals.post_save, make_user, sender=Group),
        connected(signals.post_save, save_group, sender=User),
        capture_dispatches() as captured,
    ):
        Group.objects.create(name="new")

    assert ids(captured) == []


def test_repeated_save_of_every_update(group):
    with (
        connected(signals.post_save, with_a_flag, sender=Group),
        capture_dispatches() as captured,
    ):
        group.save()

    assert ids(captured) == ["repeated-save"]


def test_repeated_save_in_pre_save(group):
    with (
        connected(signals.pre_save, with_a_flag, sender=Group),
        capture_dispatches() as captured,
    ):
        group.save()

    assert ids(captured) == ["repeated-save"]


@pytest.mark.parametrize("receiver", [when_created, with_a_flag])
def test_guarded_whole_second_save_of_a_new_instance_is_info(receiver):
    with (
        connected(signals.post_save, receiver, sender=Group),
        capture_dispatches() as captured,
    ):
        Group.objects.create(name="new")

    assert [(each.hazard, each.severity) for each in captured.hazards] == [
        ("repeated-save", "info")
    ]


def test_second_save_of_named_fields_is_left_alone():
    with (
        connected(signals.post_save, narrowly, sender=Group),
        capture_dispatches() as captured,
    ):
        Group.objects.create(name="new")

    assert ids(captured) == []


def test_recursion_over_m2m_changed_at_two_levels_is_found(group):
    first, second = Permission.objects.all()[:2]

    def add_another(sender, instance, action, pk_set, **kwargs):
        if action == "post_add" and second.pk not in pk_set:
            instance.permissions.add(second)

    with (
        connected(signals.m2m_changed, add_another, sender=Group.permissions.through),
        capture_dispatches() as captured,
    ):
        group.permissions.add(first)

    (hazard,) = captured.hazards
    assert (hazard.hazard, hazard.severity) == ("recursion", "error")
    assert "nests in itself, 2 levels deep" in hazard.message
    assert "in one call" in hazard.remedy


def test_update_of_its_own_row_is_left_alone(group):
    with (
        connected(signals.post_save, by_update, sender=Group),
        capture_dispatches() as captured,
    ):
        group.save()

    assert ids(captured) == []


def test_tree_of_different_instances_is_left_alone():
    groups = [Group.objects.create(name=f"g{number}") for number in range(8)]

    def save_next(sender, instance, **kwargs):
        at = groups.index(instance)
        if at + 1 < len(groups):
            groups[at + 1].save()

    with (
        connected(signals.post_save, save_next, sender=Group),
        capture_dispatches() as captured,
    ):
        groups[0].save()

    assert "recursion" not in ids(captured)
    assert "repeated-save" not in ids(captured)


# --- repeated-receiver and n-plus-one ------------------------------------------------------------


def count_groups(sender, **kwargs):
    Group.objects.count()


def test_repeated_receiver_and_n_plus_one_of_a_loop():
    with (
        connected(signals.post_save, count_groups, sender=Group),
        capture_dispatches(kind=Kind.COMMAND) as captured,
    ):
        for number in range(6):
            Group.objects.create(name=f"g{number}")

    assert ids(captured) == ["n-plus-one", "repeated-receiver"]
    assert "runs one query 6 times in 6 calls" in only(captured, "n-plus-one").message
    assert "runs 6 times" in only(captured, "repeated-receiver").message


def test_repeated_receiver_of_many_to_many(group):
    permissions = list(Permission.objects.all()[:6])
    with (
        connected(signals.m2m_changed, plain, sender=Group.permissions.through),
        capture_dispatches() as captured,
    ):
        for permission in permissions:
            group.permissions.add(permission)

    assert "repeated-receiver" in ids(captured)


def test_one_many_to_many_call_is_left_alone(group):
    with (
        connected(signals.m2m_changed, count_groups, sender=Group.permissions.through),
        capture_dispatches() as captured,
    ):
        group.permissions.set(Permission.objects.all()[:9])

    assert ids(captured) == []


def test_n_plus_one_within_one_call(group):
    def price(sender, **kwargs):
        for _ in range(7):
            User.objects.filter(username="x").exists()

    with connected(signals.post_save, price, sender=Group), capture_dispatches() as captured:
        group.save()

    assert ids(captured) == ["n-plus-one"]


def test_four_calls_for_four_instances_are_left_alone():
    with (
        connected(signals.post_save, count_groups, sender=Group),
        capture_dispatches() as captured,
    ):
        for number in range(4):
            Group.objects.create(name=f"g{number}")

    assert ids(captured) == []


def test_receivers_that_a_factory_made_are_not_one_receiver(group):
    receivers = [make(number) for number in range(6)]
    for receiver in receivers:
        signals.post_save.connect(receiver, sender=Group)
    try:
        with capture_dispatches() as captured:
            group.save()
    finally:
        for receiver in receivers:
            signals.post_save.disconnect(receiver, sender=Group)

    assert ids(captured) == []


def test_n_plus_one_of_a_function_under_two_uids(group):
    user = User.objects.create(username="buyer")
    with (
        connected(signals.post_save, count_groups, sender=Group, dispatch_uid="a"),
        connected(signals.post_save, count_groups, sender=User, dispatch_uid="b"),
        capture_dispatches() as captured,
    ):
        group.save()
        group.save()
        group.save()
        user.save()
        user.save()

    assert ids(captured) == ["n-plus-one"]


def test_own_signal_that_says_different_things_of_one_instance_is_left_alone(group):
    with connected(placed, plain), capture_dispatches() as captured:
        placed.send(sender=None, group=group, word="a", again=False)
        placed.send(sender=None, group=group, word="b", again=False)
        placed.send(sender=None, group=group, word="c", again=False)
        placed.send(sender=None, group=group, word="d", again=False)
        placed.send(sender=None, group=group, word="e", again=False)

    assert ids(captured) == []


# --- slow-receiver -------------------------------------------------------------------------------


def test_slow_receiver(settings):
    hazards = {**UNHURRIED, "slow-receiver": {"threshold_ms": 5}}
    settings.TRACING = {**settings.TRACING, "HAZARDS": hazards}

    def slow(sender, **kwargs):
        until = time.perf_counter() + 0.02
        while time.perf_counter() < until:
            pass

    with connected(placed, slow), capture_dispatches() as captured:
        placed.send(sender=None)

    assert ids(captured) == ["slow-receiver"]


# --- swallowed-error and skipped-receivers -------------------------------------------------------


def broken(sender, **kwargs):
    raise ValueError("no price")


async def broken_later(sender, **kwargs):
    raise ValueError("no price")


@pytest.mark.parametrize("receiver", [broken, broken_later])
def test_swallowed_error(receiver):
    with connected(placed, receiver), capture_dispatches() as captured:
        placed.send_robust(sender=None)

    hazard = only(captured, "swallowed-error")
    assert f"{receiver.__name__} (tests/tracing/analysis/hazards/test_real.py:" in hazard.message


def test_skipped_receivers(group):
    with (
        connected(signals.post_save, broken, sender=Group),
        connected(signals.post_save, plain, sender=Group),
        connected(signals.post_save, count_groups, sender=Group),
        capture_dispatches() as captured,
        pytest.raises(ValueError, match="no price"),
    ):
        group.save()

    hazard = only(captured, "skipped-receivers")
    assert "plain (tests/" in hazard.message
    assert "count_groups (tests/" in hazard.message


def test_error_of_the_last_receiver_skips_nobody(group):
    with (
        connected(signals.post_save, plain, sender=Group),
        connected(signals.post_save, broken, sender=Group),
        capture_dispatches() as captured,
        pytest.raises(ValueError, match="no price"),
    ):
        group.save()

    assert ids(captured) == []


# --- side effects --------------------------------------------------------------------------------


def mail(sender, **kwargs):
    send_mail("Sold", "", "shop@example.com", ["buyer@example.com"])


def mail_after_commit(sender, **kwargs):
    transaction.on_commit(functools.partial(mail, sender))


def save_and_roll_back(instance):
    with transaction.atomic():
        instance.save()
        transaction.set_rollback(True)


class Mailer:
    def on_save(self, sender, **kwargs):
        mail(sender)


mailer = Mailer()


def mass_mail(sender, **kwargs):
    letter = ("Sold", "", "shop@example.com", ["buyer@example.com"])
    send_mass_mail([letter, letter])


def mail_by_connection(sender, **kwargs):
    get_connection().send_messages([EmailMessage("Sold", to=["buyer@example.com"])])


def call_the_registry(sender, **kwargs):
    with socket.socket() as registry:
        registry.connect_ex(("127.0.0.1", 9))


@pytest.mark.parametrize(
    "receiver",
    [
        mail,
        mailer.on_save,
        functools.partial(mail),
        decorated(mail),
        mass_mail,
        mail_by_connection,
        call_the_registry,
    ],
)
def test_side_effect_in_transaction(receiver, group):
    with (
        connected(signals.post_save, receiver, sender=Group, weak=False),
        capture_dispatches() as captured,
        transaction.atomic(),
    ):
        group.save()

    assert ids(captured) == ["side-effect-in-transaction"]


def test_rolled_back_side_effect(group):
    with (
        connected(signals.post_save, mail, sender=Group),
        capture_dispatches() as captured,
    ):
        save_and_roll_back(group)

    assert ids(captured) == ["rolled-back-side-effect"]


def test_side_effect_in_a_savepoint_that_rolled_back(group):
    with (
        connected(signals.post_save, mail, sender=Group),
        capture_dispatches() as captured,
        transaction.atomic(),
    ):
        save_and_roll_back(group)

    assert ids(captured) == ["rolled-back-side-effect"]


def test_rollback_of_another_savepoint_does_not_cover_the_side_effect(group):
    with (
        connected(signals.post_save, mail, sender=Group),
        capture_dispatches() as captured,
        transaction.atomic(),
    ):
        group.save()
        with pytest.raises(KeyError), transaction.atomic():
            raise KeyError

    assert ids(captured) == ["side-effect-in-transaction"]


def test_side_effect_on_commit_or_in_autocommit_is_left_alone(group):
    with (
        connected(signals.post_save, mail_after_commit, sender=Group),
        capture_dispatches() as captured,
    ):
        with transaction.atomic():
            group.save()
        save_and_roll_back(group)
    with connected(signals.post_save, mail, sender=Group), capture_dispatches() as autocommit:
        group.save()

    assert ids(captured) == []
    assert ids(autocommit) == []


# --- bypassed-receivers --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signal", "write"),
    [
        (signals.post_save, lambda: Group.objects.bulk_create([Group(name="a")])),
        (signals.pre_save, lambda: Group.objects.update(name="b")),
        (signals.post_save, lambda: Group.objects.bulk_update(Group.objects.all(), ["name"])),
    ],
)
def test_bypassed_receivers(signal, write, group):
    with connected(signal, plain, sender=Group), capture_dispatches() as captured:
        write()

    hazard = only(captured, "bypassed-receivers")
    assert "plain (tests/tracing/analysis/hazards/test_real.py:" in hazard.message
    assert (hazard.sender, hazard.file) == ("auth.Group", __file__)


def test_bypass_without_receivers_or_rows_is_left_alone(group):
    with capture_dispatches() as nobody:
        Group.objects.update(name="b")
    with connected(signals.post_save, plain, sender=Group), capture_dispatches() as nothing:
        Group.objects.filter(name="none").update(name="c")
        Group.objects.bulk_create([])

    assert ids(nobody) == []
    assert ids(nothing) == []


# --- lost-receiver -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make_receiver",
    [make, lambda: lambda sender, **kwargs: None, lambda: functools.partial(plain)],
)
def test_lost_receiver(settings, make_receiver):
    settings.DEBUG = False
    with connected(placed, plain), capture_dispatches() as captured:
        placed.connect(make_receiver())
        gc.collect()
        placed.send(sender=None)

    assert ids(captured) == ["lost-receiver"]


def test_kept_and_disconnected_receivers_are_not_lost(settings):
    settings.DEBUG = False
    kept = make()
    with connected(placed, kept), capture_dispatches() as captured:
        gone = make("b")
        placed.connect(gone)
        placed.disconnect(gone)
        del gone
        gc.collect()
        placed.send(sender=None)

    assert ids(captured) == []


# --- raw-query and init-receiver-cost ------------------------------------------------------------


def test_raw_query_takes_no_savepoint_for_a_query(tmp_path):
    @transaction.atomic
    def count(sender, raw, **kwargs):
        if not raw:
            User.objects.count()

    fixture = tmp_path / "groups.json"
    fixture.write_text(json.dumps([{"model": "auth.group", "pk": 5, "fields": {"name": "five"}}]))
    with connected(signals.post_save, count, sender=Group), capture_dispatches() as captured:
        call_command("loaddata", fixture, verbosity=0)

    assert ids(captured) == []


@pytest.mark.parametrize(("careful", "found"), [(False, ["raw-query"]), (True, [])])
def test_raw_query(tmp_path, careful, found):
    def count(sender, raw, **kwargs):
        if not (careful and raw):
            User.objects.count()

    fixture = tmp_path / "groups.json"
    fixture.write_text(json.dumps([{"model": "auth.group", "pk": 5, "fields": {"name": "five"}}]))
    with connected(signals.post_save, count, sender=Group), capture_dispatches() as captured:
        call_command("loaddata", fixture, verbosity=0)

    assert ids(captured) == found


def test_init_receiver_cost():
    for number in range(4):
        Group.objects.create(name=f"g{number}")

    def count(sender, **kwargs):
        User.objects.count()

    with connected(signals.post_init, count, sender=Group), capture_dispatches() as captured:
        list(Group.objects.all())
    with connected(signals.post_init, plain, sender=Group), capture_dispatches() as cheap:
        list(Group.objects.all())

    assert "for 4 instances of auth.Group" in only(captured, "init-receiver-cost").message
    assert ids(cheap) == []


# --- unfiltered-receiver -------------------------------------------------------------------------


def save_five_models():
    kind = ContentType.objects.create(app_label="a", model="b")
    User.objects.create(username="u")
    Group.objects.create(name="g")
    Permission.objects.create(name="p", codename="p", content_type=kind)
    Session(session_key="s", expire_date="2030-01-01T00:00Z").save()


def test_unfiltered_receiver():
    with connected(signals.post_save, plain), capture_dispatches() as captured:
        save_five_models()

    hazard = only(captured, "unfiltered-receiver")
    assert "is connected to post_save without a sender and ran for " in hazard.message
    assert {"auth.Group", "auth.Permission", "auth.User"} < set(hazard.evidence)


def test_receiver_connected_to_each_model_is_left_alone():
    models = (ContentType, User, Group, Permission, Session)
    for model in models:
        signals.post_save.connect(plain, sender=model)
    try:
        with capture_dispatches() as captured:
            save_five_models()
    finally:
        for model in models:
            signals.post_save.disconnect(plain, sender=model)

    assert ids(captured) == []


# --- async ---------------------------------------------------------------------------------------


async def later(sender, **kwargs):
    await asyncio.sleep(0)


@pytest.mark.parametrize("method", ["send", "send_robust"])
def test_sync_send_in_loop(method):
    async def go():
        getattr(placed, method)(sender=None)

    with (
        connected(placed, plain),
        connected(placed, later),
        capture_dispatches() as captured,
        suppress(RuntimeError),
    ):
        asyncio.run(go())

    hazard = only(captured, "sync-send-in-loop")
    assert "later (tests/" in hazard.message


def test_sync_send_outside_a_loop_and_asend_are_left_alone():
    async def go():
        await placed.asend(sender=None)

    with connected(placed, later), capture_dispatches() as captured:
        placed.send(sender=None)
        asyncio.run(go())

    assert ids(captured) == []


def test_async_hop(settings):
    hazards = {**UNHURRIED, "async-hop": {"total_ms": 0}}
    settings.TRACING = {**settings.TRACING, "HAZARDS": hazards}

    async def go():
        await placed.asend(sender=None)

    with connected(placed, plain), connected(placed, later), capture_dispatches() as captured:
        asyncio.run(go())

    assert ids(captured) == ["async-hop"]


class AsyncIndexer:
    async def __call__(self, sender, **kwargs):
        raise AssertionError("nobody awaits it")


async_indexer = AsyncIndexer()


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize(
    "receiver",
    [async_indexer, lambda sender, **kwargs: later(sender), functools.partial(async_indexer)],
)
def test_never_awaited(receiver):
    with connected(placed, receiver, weak=False), capture_dispatches() as captured:
        placed.send(sender=None)
    gc.collect()

    assert ids(captured) == ["never-awaited"]


# --- budget-exceeded -----------------------------------------------------------------------------


def test_budget_exceeded(settings):
    settings.TRACING = {
        **settings.TRACING,
        "BUDGETS": [{"name": "place*", "dispatches": 2}, {"name": "other", "dispatches": 0}],
    }
    with connected(placed, plain), capture_dispatches("place an order") as captured:
        for _ in range(3):
            placed.send(sender=None)

    (hazard,) = captured.hazards
    assert hazard.message.startswith("place an order used 3 dispatches, more than its budget of 2")
