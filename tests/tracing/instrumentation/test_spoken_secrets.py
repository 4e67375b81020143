"""Secrets that stand after a word, on a command line or in an address; and texts that only look so."""

from __future__ import annotations

import pytest

from tracing.instrumentation.attributes.redaction import HIDDEN, redact_text

SECRET = "S3cr3tXyz9"

SECRETS = """
password xyz{0} | password is {0} | passwd: {0} | Wrong password {0} for user bob
the password '{0}' is wrong | the password "{0}" is wrong | password was {0} | passphrase {0} rejected
pwd {0} | PIN {0} is wrong | token {0} expired | Bearer token {0} is expired
Incorrect API key provided: {0}. | api key {0} is not valid | secret is {0} | secret key {0}
session id {0} not found | aws_secret_access_key {0}/K7MDENG | MY_PASSWORD {0} | password is: {0}
mysql -p{0} -u root | mysql -uroot -p{0} shop | mysqldump -p'{0}' shop | mysqladmin --password {0} status
mysql --password={0} | Command '['mysql', '-u', 'root', '-p{0}']' returned 1.
['mysql', '--password', '{0}'] | mariadb-dump -p{0} | redis-cli -a {0} ping | sshpass -p {0} ssh h
sshpass -p{0} ssh h | ['sshpass', '-p', '{0}'] | mongo -u root -p {0} | docker login -u bob -p {0}
curl -u bob:{0} https://x | curl https://x -u bob:{0} | curl --user bob:{0} https://x | curl -ubob:{0} x
curl --user=bob:{0} x | curl -sS -u 'bob:{0}' x | ['curl', '-u', 'bob:{0}', 'https://x'] | http -a bob:{0} x
curl -x p -U bob:{0} | https://a/callback?code={0}&state=abc | https://a/callback?state={0}
/oauth?code=4/0AX4{0} | GET /sso/?x=1&code={0} HTTP/1.1 | https://a/?code={0}{0}
https://a/#access_token={0} | https://a/?id_token={0} | https://a/?X-Amz-Signature={0}
Authorization: Bearer {0} | authorization: bearer {0} | Authorization: Basic {0}==
-H 'Authorization: Bearer {0}' | Authorization: ApiKey {0} | postgres://u:{0}@h
postgresql+psycopg://u:{0}@h/db | redis://:{0}@h | host=h user=u password={0} dbname=d
Server=h;Password={0}; | -----BEGIN PRIVATE KEY----- {0}
-----BEGIN OPENSSH PRIVATE KEY----- {0} -----END OPENSSH PRIVATE KEY-----
u:{0}@tcp(h:3306)/db | dial u:{0}@tcp(10.0.0.1)/db?x=1 failed | 'u:p@{0}@unix(/run/my.sock)/db'
u:{0}@(h)/db
u:{0}@/db | //u:{0}@h | at //u:{0}@h/x | "//:{0}@h:6379" | //u:p@{0}@h | u.name:{0}@h:5432/db | u:{0}@h/db
shop_rw:{0}@db.example.com:5432
"""
LETTERS = """
Bearer abcdefghijkl | Bearer abcdefghijklmnopqrstuvwx | Bearer kJhGfDsApO | bearer kJhGfDsApO
bearer xkcdqwrtz | Bearer qwertyuiop is refused | 'Bearer qwertyuiop' | BEARER kJhGfDsApO
Bearer token qwertyuiop
bearer abcdefghijklmnopqrstu | Basic dXNlcjpwYXNz | Basic dXNlcjpwYXNz, | Token kJhGfDsApO
Negotiate TlRMTVNTUAAB | curl -H "Authorization-Was Bearer kJhGfDsApO" https://h
"""

WORDS = """
password is required | code=404 | the password reset page | state=open | Your password is too short.
wrong password | This password is too common. | The password is too similar to the username.
password must contain at least 8 characters | password field is empty | invalid password for user bob
password for user bob | password reset for bob@example.com | password changed | password has expired
password was changed yesterday | password is incorrect | password is None | password or username is wrong
passwords do not match | password hashing took 2 s | password validation failed | no password supplied
fe_sendauth: no password supplied | password authentication failed for user "bob"
Access denied for user 'root'@'localhost' (using password: YES) | token is invalid or expired
invalid token | CSRF token missing | CSRF token from POST incorrect. | status code=200 | exit code=1
error code=E404 | state=closed | ?state=open&page=2 | order state=paid code=A12
/orders/?code=SUMMER&page=2 | secret santa party | the secret of success | api key is missing
API key not found | ls -p /tmp | mkdir -p /var/lib/app | docker run -p 8080:80 web | python -u manage.py
ssh -p 2222 host | basic authentication is required | bearer of news | Bearer authentication required
session is closed | card was declined | --password is required | use --password to set it
passwd: command not found | password: This field is required. | password: Enter a valid value
mysql -P 3306 -u root | mysql -h host -p shop | mysql -p: command not found
password is at least 8 characters | password is more than 72 bytes | password is case-sensitive
password is 'required' | secret is out | unexpected token '}' at line 1 | Unexpected token 12345 at line 1
token limit exceeded | password v2 scheme | password CommonPasswordValidator | password reset/change
password 30 days old | PIN is required | PIN CODE | password DB | session_id not found
The SECRET_KEY setting must not be empty. | private key file not found
private key /etc/ssl/key.pem not readable
Bearer token missing | Bearer authorization expected | expected Bearer, not Basic
Bearer credentials were not provided. | Bearer TokenAuthentication | bearer OpenID | Bearer OAuth is off
bearer instruments | BEARER TOKEN REQUIRED
Basic authentication | Token authentication failed | Digest mismatch | basic BasicAuthentication class
Bearer scheme | mailto:bob@example.com | email:bob@example.com/x | nginx:alpine@sha256:0a1b2c3d
git@github.com:org/repo.git
cc:bob@example.com:25 | // ask bob@example.com | //cdn.example.com/x.js | //localhost:8000/x@2x.png
celery@worker1:5672 | meet at 12:30@office/room | user: bob@example.com | //h/a:b@c | left-pad@1.2.3
pkg:pypi/django@5.2
"""


def texts(table):
    return [
        text.strip() for line in table.splitlines() for text in line.split(" | ") if text.strip()
    ]


def test_secrets_are_hidden_and_words_stay():
    secret = {text: redact_text(text.format(SECRET)) for text in texts(SECRETS)}

    assert {
        text: shown for text, shown in secret.items() if SECRET in shown or HIDDEN not in shown
    } == {}
    assert {text: redact_text(text) for text in texts(WORDS)} == {
        text: text for text in texts(WORDS)
    }
    shown = {text: redact_text(text) for text in texts(LETTERS)}
    assert {text: each for text, each in shown.items() if HIDDEN not in each} == {}
    assert (len(secret) > 60, len(texts(WORDS)) > 75) == (True, True)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("the password xK3-9 is wrong.", "the password {} is wrong."),
        ("token 5f0c1d7e9a expired", "token {} expired"),
        ("a password 'xK3 9' was given", "a password {} was given"),
        ("password xyz and more", "password {} and more"),
        ("password is xyz", "password is {}"),
        ("mysql -u root -pxK39 shop", "mysql -u root -p{} shop"),
        ("/cb/callback?code=ab&state=cd&page=2", "/cb/callback?code={0}&state={0}&page=2"),
    ],
)
def test_what_stands_around_a_secret_stays(text, shown):
    assert redact_text(text) == shown.format(HIDDEN)
