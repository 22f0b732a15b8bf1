"""Where a webhook's address comes from, and that no message ever shows it."""

import pytest

from orchestrator import settings
from orchestrator.errors import UserError

HOOK = "https://hooks.example.org/s3cret"


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "bnsweep" / "settings.yaml"
    path.parent.mkdir()
    monkeypatch.delenv("BNSWEEP_SETTINGS")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return path


def test_without_settings_nobody_is_told(file):
    assert settings.notify_url() == ""


def test_the_flag_comes_before_the_environment_and_that_before_the_file(file, monkeypatch):
    file.write_text(f"notify: {HOOK}/file\n")
    assert settings.notify_url() == f"{HOOK}/file"
    monkeypatch.setenv("BNSWEEP_NOTIFY", f"{HOOK}/environment")
    assert settings.notify_url() == f"{HOOK}/environment"
    assert settings.notify_url(f"{HOOK}/flag") == f"{HOOK}/flag"
    assert settings.notify_url("off") == ""


@pytest.mark.parametrize("text", ["", "# nothing\n", "notify: off\n", "notify: 'off'\n"])
def test_a_file_may_say_that_nobody_is_told(file, text):
    file.write_text(text)
    assert settings.notify_url() == ""


def test_the_file_lies_in_the_home_or_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.delenv("BNSWEEP_SETTINGS")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert settings.settings_file() == tmp_path / ".config" / "bnsweep" / "settings.yaml"
    monkeypatch.setenv("BNSWEEP_SETTINGS", "/etc/bnsweep.yaml")
    assert str(settings.settings_file()) == "/etc/bnsweep.yaml"


@pytest.mark.parametrize(
    "address",
    [
        "hooks.example.org/s3cret",
        "ftp://example.org/s3cret",
        "https:///s3cret",
        "https://example.org:s3cret/",
        "https://example.org:99999/s3cret",
        "https://[s3cret/",
        "https://example.org/s3cret here",
        "https://example.org/s3cret\n",
        "https://exämple.org/s3cret",
        "https://me:s3cret@example.org/",
    ],
)
def test_what_is_no_web_address_is_refused_without_showing_it(address):
    with pytest.raises(UserError) as refused:
        settings.notify_url(address)
    (line,) = refused.value.lines
    assert line.startswith("--notify: found ")
    assert "s3cret" not in line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("notify: s3cret\n", ": notify: found no web address; allowed: https://… or http://…"),
        ("notify: [https://a, s3cret]\n", ": notify: found no web address; "),
        ("notify:\n", ": notify: found no web address; "),
        ("notify: https://s3cret\nslack: s3cret\n", ": found the keys slack; allowed: notify"),
        ("https://a/s3cret: x\n", ": found the keys …; allowed: notify"),
        ("store: here\n\nnotify: {s3cret\n", ":4: is not YAML; allowed: notify: https://…"),
        ("s3cret\n", ": found no keys; allowed: notify: https://…"),
    ],
)
def test_a_wrong_file_is_one_line_with_its_path(file, text, said):
    file.write_text(text)
    with pytest.raises(UserError) as refused:
        settings.notify_url()
    (line,) = refused.value.lines
    assert line.startswith(f"{file}{said}")
    assert "s3cret" not in line
    assert refused.value.__cause__ is None


def test_a_settings_file_that_is_no_file_is_one_line(file):
    file.mkdir()
    with pytest.raises(UserError, match="cannot be read"):
        settings.notify_url()
