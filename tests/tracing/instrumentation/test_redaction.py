"""The rules by which keys, texts and paths lose their secrets."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal

import pytest

from tracing.instrumentation.attributes.redaction import (
    HIDDEN,
    MAX_KEY,
    SENSITIVE,
    Policy,
    TypeName,
    cut_key,
    digest,
    key_text,
    known_as,
    policy,
    redact_error,
    redact_path,
    redact_text,
    set_policy,
)

NUMBER = uuid.UUID("550e8400-e29b-41d4-a716-446655440000")


@pytest.fixture
def follow():
    """Return ``follow(Policy(...))``, whose policy is in force until the test ends."""
    before = Policy(policy.sensitive, clear_keys=policy.clear_keys, messages=policy.messages)
    yield set_policy
    set_policy(before)


@pytest.mark.parametrize(
    "name",
    ["password", "PASSWD", "userPwd", "api_key", "X-Api-Key", "Authorization", "sessionid", "csrftoken",
     "cookie", "credential", "sentry_dsn", "cvv", "cvc2", "iban", "ssn", "jwt", "connectionString",
     "conn_str", "private_key", "access-token", "pin", "user_pin", "userPin", "pinCode", "otp", "TOTP",
     "otp_code", "mfa", "2fa", "sid", "psk", "card_number", "signature", "SAMLResponse", "client_assertion",
     "code_verifier", "seedPhrase", "seed_phrase", "recovery_code", "backupCodes", "PHPSESSID", "sig", "salt",
     "pan", "hmac", "creds", "Kennwort", "contraseña", "senha", "пароль"],
)  # fmt: skip
def test_names_of_secrets_are_sensitive(name):
    assert policy.is_sensitive(name)


@pytest.mark.parametrize(
    "name",
    [
        "shipping",
        "spinner",
        "hotplug",
        "order",
        "supplier",
        "tangent",
        "user_id",
        "step",
        "opinion",
    ],
)
def test_other_names_are_not(name):
    assert not policy.is_sensitive(name)


def test_without_readable_keys_every_name_is_sensitive(follow):
    follow(Policy(None))

    assert policy.is_sensitive("order")


# --- primary keys ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        (42, "42"),
        (-1, "-1"),
        pytest.param(10**5_000, "<int of 16610 bits>", id="huge"),
        (NUMBER, str(NUMBER)),
        (True, "True"),
        (TypeName("<SimpleLazyObject>"), "<SimpleLazyObject>"),
        ((1, 7), "(1, 7)"),
        ((1, NUMBER), f"(1, {NUMBER})"),
    ],
)
def test_integers_and_uuids_stay(key, shown):
    assert key_text("shop.Seat", key) == shown


@pytest.mark.parametrize(
    "key", ["tok-1", "42", "", Decimal(4111111111111111), dt.date(2026, 11, 29), 1.5, b"\x00raw"]
)
def test_any_other_key_is_digested(key):
    shown = key_text("shop.Seat", key)

    assert len(shown) == 12
    assert int(shown, 16) >= 0
    assert shown == key_text("shop.Other", key)


@pytest.mark.parametrize(
    ("model", "key", "is_clear"),
    [
        ("auth.User", "42", True),
        ("auth.User", "sam", False),
        ("sessions.Session", "42", False),
        ("cars.Car", str(NUMBER), True),
        ("no.Such", "42", False),
    ],
)
def test_a_number_that_was_given_as_text_stays(model, key, is_clear):
    assert (key_text(model, key) == key) is is_clear


def test_the_digest_depends_on_the_secret_key(settings):
    before = digest("tok-1")
    settings.SECRET_KEY = "another"

    assert digest("tok-1") != before


class Closed:
    """A secret that is asked for elsewhere, where nobody answers."""

    def __str__(self):
        raise ConnectionError


@pytest.mark.parametrize("secret", ["", b"of bytes", Closed()])
def test_a_project_without_a_usual_secret_key_has_digests(settings, secret):
    settings.SECRET_KEY = secret

    assert len(digest("tok-1")) == 12


def test_keys_of_models_that_are_named_stay_clear(follow):
    follow(Policy(clear_keys=["shop.Seat"]))

    assert key_text("shop.Seat", "A12") == "A12"
    assert key_text("shop.Seat", (1, "A")) == "(1, 'A')"
    assert key_text("shop.Token", "A12") == digest("A12")


def test_the_parts_of_a_composite_key_follow_the_rule():
    assert key_text("shop.Seat", (1, "A")) == f"(1, {digest('A')})"


@pytest.mark.parametrize(
    ("wanted", "key"),
    [
        ("shop.Seat:tok-1", "tok-1"),
        ("shop.Seat:42", "42"),
        ("shop.Seat:2026-11-29", dt.date(2026, 11, 29)),
        (f"shop.Seat:{'x' * 300}", cut_key("x" * 300)),
        ("shop.Seat:(1, 'A')", (1, "A")),
        ("shop.Seat:(1,'A')", (1, "A")),
        ("shop.Seat:1,7", (1, 7)),
        ("shop.Seat:(1, 7)", (1, 7)),
    ],
)
def test_an_instance_is_found_by_its_key(wanted, key):
    assert f"shop.Seat:{key_text('shop.Seat', key)}" in known_as(wanted)


@pytest.mark.parametrize(
    ("wanted", "key"), [("shop.Seat:tok-1", "tok-1"), ("shop.Seat:(1, 'A')", (1, "A"))]
)
def test_an_instance_is_found_by_its_key_after_the_secret_has_changed(settings, wanted, key):
    kept = f"shop.Seat:{key_text('shop.Seat', key)}"
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "a new one", [settings.SECRET_KEY]

    assert kept != f"shop.Seat:{key_text('shop.Seat', key)}"
    assert {kept, f"shop.Seat:{key_text('shop.Seat', key)}"} <= set(known_as(wanted))


def test_an_instance_is_found_by_the_digest_that_is_shown():
    assert "shop.Seat:9f2c41d07ab3" in known_as("shop.Seat:9f2c41d07ab3")


def test_a_clear_composite_key_is_found(follow):
    follow(Policy(clear_keys=["shop.Seat"]))

    assert f"shop.Seat:{key_text('shop.Seat', (1, 'A'))}" in known_as("shop.Seat:(1, 'A')")


def test_a_long_key_is_cut_before_it_is_held():
    assert cut_key("x" * (MAX_KEY + 1)) == "x" * MAX_KEY + "…"


# --- texts -----------------------------------------------------------------------------------

SECRET = "hunter2x"


@pytest.mark.parametrize(
    "text",
    [
        f"password={SECRET}",
        f"password: {SECRET} is wrong",
        f'{{"user": {{"api_key": "{SECRET}"}}}}',
        f"{{'password': '{SECRET} with more'}}",
        f"('password', '{SECRET}')",
        f"[['pwd', '{SECRET}'], ['a', 1]]",
        f'{{\\"password\\": \\"{SECRET}\\"}}',
        f"b'password': b'{SECRET}'",
        f"password='{SECRET}",
        f"secret=abc,{SECRET}",
        f"passphrase: correct horse {SECRET} staple",
        f"tokens={{'a': ['{SECRET}']}}",
        f"tokens=['{SECRET}",
        f"postgres://user:{SECRET}@host:5432/db",
        f"redis://:{SECRET}@host",
        f"amqp://guest:p@{SECRET}@host//",
        f"cannot reach postgres://user:{SECRET}",
        f"https://host/path?token={SECRET}&a=b",
        f"Authorization: Bearer {SECRET}",
        f"Authorization: Basic {SECRET}==",
        f"Bearer {SECRET}",
        f"Cookie: a=b; sessionid={SECRET}; c={SECRET}",
        f"--password {SECRET}",
        f"--api-token={SECRET}",
        f"<password>{SECRET}</password>",
        f"Key (name)=({SECRET}) already exists.",
        f"Failing row contains (1, {SECRET}, null).",
        f"Duplicate entry '{SECRET}' for key 'x'",
        f'invalid input syntax for type integer: "{SECRET}"',
        f"eyJhbGciOiJIUzI1NiJ9.{SECRET}.{SECRET}",
        f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----",
        f"ghp_{SECRET}{SECRET}{SECRET}",
    ],
)
def test_texts_lose_their_secrets(text):
    redacted = redact_text(text)

    assert SECRET not in redacted
    assert HIDDEN in redacted


@pytest.mark.parametrize(
    "text",
    [
        "Connect to http://localhost:8000/x?a=b failed",
        "http://localhost:8000",
        "UNIQUE constraint failed: auth_user.username",
        "KeyError: 'x'",
        "time=12:30, count=3",
        "shop.Order:42",
        "invalid literal for int() with base 10",
        "it took: long",
        "",
    ],
)
def test_texts_without_secrets_stay_as_they_are(text):
    assert redact_text(text) == text


def test_what_follows_a_secret_stays():
    assert redact_text("password=x host=db") == f"password={HIDDEN} host=db"
    assert (
        redact_text("{'password': 'x', 'host': 'db'}") == f"{{'password': {HIDDEN}, 'host': 'db'}}"
    )


def test_the_type_of_an_error_is_no_name_of_a_secret():
    error = "rest_framework.exceptions.AuthenticationFailed: Invalid token."

    assert redact_error(error) == error
    assert redact_error("KeyError: password=x") == f"KeyError: password={HIDDEN}"


def test_sensitive_keys_of_the_project_count_in_texts(follow):
    import re

    follow(Policy(re.compile(f"{SENSITIVE.pattern}|nickname", re.IGNORECASE)))

    assert SECRET not in redact_text(f"{{'Nickname': '{SECRET}'}}")


@pytest.mark.parametrize(
    "text", ["a=" * 500, "'" * 800, "password=(" * 80, "\\" * 800 + "=", "<a>" * 250]
)
def test_odd_texts_are_read_to_their_end(text):
    assert isinstance(redact_text(text), str)


# --- paths -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "route", "values", "kept"),
    [
        ("/orders/42/", "orders/<int:pk>/", {"pk": 42}, "/orders/42/"),
        (f"/o/{NUMBER}/", "o/<uuid:pk>/", {"pk": NUMBER}, f"/o/{NUMBER}/"),
        ("/orders/42/", r"^orders/(?P<pk>\d+)/$", {"pk": "42"}, "/orders/42/"),
        ("/reset/MQ/c2-01ab/", "reset/<uidb64>/<token>/", {"uidb64": "MQ", "token": "c2-01ab"},
         "/reset/<uidb64>/<token>/"),
        ("/f/a/b", "f/<path:rest>", {"rest": "a/b"}, "/f/<rest>"),
        ("/de/x/e/", "x/<str:e>/", {"e": "e"}, "/de/x/<e>/"),
        ("/x/t0k3n/", r"^x/(\w+)/$", ("t0k3n",), "/x/<0>/"),
        ("/x/t0k3n/42/", r"^x/(\w+)/(?P<pk>\d+)/$", {"pk": "42"}, "/x/…/42/"),
        ("/x/ab-t0k3n", "x/ab-<token>", {"token": "t0k3n"}, "/x/ab-<token>"),
        ("/x/y/", "x/<thing>/", {"thing": object()}, "/x/<thing>/"),
        ("/x/", "x/<thing>", {"thing": None}, "/x/"),
        ("/x/", "x/", {}, "/x/"),
    ],
)  # fmt: skip
def test_parameters_of_a_route_follow_the_rule_of_keys(path, route, values, kept):
    assert redact_path(path, route, values) == kept


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("/wp-login.php", "/wp-login.php"),
        ("/.env", "/.env"),
        ("/api/v1/users/42", "/api/v1/users/42"),
        (f"/a/{NUMBER}", f"/a/{NUMBER}"),
        ("/reset/MQ/c2x1ab-0123456789abcdef/", "/reset/MQ/…/"),
        ("/tok-5f0c1d7e9a", "/…"),
        ("/sam@example.com", "/…"),
        ("/" + "a" * 40, "/…"),
        ("/große/straße-12", "/große/straße-12"),
        ("", ""),
    ],
)
def test_without_a_route_words_and_numbers_stay(path, kept):
    assert redact_path(path, None, ()) == kept


RANDOM = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
HEX = "0a1b2c3d" * 4


@pytest.mark.parametrize(
    "token",
    [
        f"github_pat_{RANDOM}", f"glpat-{RANDOM}", f"npm_{RANDOM}", f"pypi-{RANDOM}", f"hf_{RANDOM}",
        f"SG.{RANDOM}.{RANDOM}", f"whsec_{RANDOM}", f"sk-proj-{RANDOM}", f"sk-ant-{RANDOM}",
        f"dop_v1_{RANDOM}", f"shpat_{RANDOM}", f"SK{HEX}", f"key-{HEX}", f"ya29.{RANDOM}", f"GOCSPX-{RANDOM}",
        f"123456789:AA{RANDOM}",
        f"xapp-1-A00-{RANDOM}", f"hvs.{RANDOM}", f"AGE-SECRET-KEY-1{RANDOM}", f"lin_api_{RANDOM}",
        f"sq0csp-{RANDOM}", f"dapi{HEX}", f"dp.pt.{RANDOM}", f"pscale_tkn_{RANDOM}", f"NRAK-{RANDOM}",
        f"glsa_{RANDOM}", f"https://hooks.slack.com/services/T00/B00/{RANDOM}",
    ],
)  # fmt: skip
def test_token_of_a_service_is_hidden_wherever_it_stands(token):
    shown = redact_text(f"the answer to {token} was no")

    assert (RANDOM in shown, HEX in shown, HIDDEN in shown) == (False, False, True)
    assert shown.endswith(" was no")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://h/b?sig={}&se=1", "https://h/b?sig={}&se=1"),
        ("tokens[]={}", "tokens[]={}"),
        ("password -> {}", "password -> {}"),
        ("password%3D{}%26a%3Db", "password%3D{}%26a%3Db"),
        ("password: |\n  {0}\n  {0}\nname: x", "password: {}name: x"),
        ("ALTER ROLE a PASSWORD '{}' CREATEDB", "ALTER ROLE a PASSWORD {} CREATEDB"),
        ("CREATE USER a IDENTIFIED BY '{}'", "CREATE USER a IDENTIFIED BY {}"),
        ("curl -u admin:{} https://h", "curl -u admin:{} https://h"),
        ('Proxy-Authorization: Digest username="a", response="{}"', "Proxy-Authorization: {}"),
        ("-----BEGIN PGP PRIVATE KEY BLOCK-----\n{}\n-----END PGP PRIVATE KEY BLOCK-----", "{}"),
        ("contraseña={}", "contraseña={}"),
        ("пароль: {}", "пароль: {}"),
    ],
)
def test_secret_is_hidden_where_it_is_written_otherwise(text, shown):
    assert redact_text(text.format("s3cr3t0001")) == shown.format(HIDDEN)


@pytest.mark.parametrize(
    "text",
    [
        "TransactionManagementError in ConfigurationManagementCommand",
        "run desk-configuration-management1 for risk-free_configuration",
        f"sha256 {HEX}", f"order-{HEX}", "set by 'somebody'",
        "git show -u origin:main", "user -> name", "row[3]: 5",
    ],
)  # fmt: skip
def test_text_that_only_looks_like_one_stays(text):
    assert redact_text(text) == text
