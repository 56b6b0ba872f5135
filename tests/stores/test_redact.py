"""What is cleaned from the texts of services."""

from __future__ import annotations

from orchard.stores.redact import Redactor, secret_values


def test_secrets_queries_passwords_and_answers():
    redact = Redactor(frozenset({"hunter2", "hunter2-long"}))
    text = redact(
        "cannot PUT https://me:pass@host/a?sig=abc&se=1 with hunter2-long and hunter2: "
        '<?xml version="1.0"?><Error><Code>Bad</Code><Message>No good</Message>'
        "<StringToSign>xyz</StringToSign></Error>\n\nDebug source: more"
    )
    assert text == "cannot PUT https://***@host/a with *** and ***: Bad: No good"
    assert len(redact("long " * 1000)) < 500


def test_which_values_are_secret(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "from-the-environment")
    found = secret_values(
        {
            "region": "eu-central-1",
            "account_key": "the-key",
            "sas": "x",
            "more": {"token": "nested"},
        }
    )
    assert {"the-key", "nested", "from-the-environment"} <= found
    assert not {"eu-central-1", "x"} & found
