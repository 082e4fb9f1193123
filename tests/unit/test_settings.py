"""Where settings come from, what is refused, and what may be shown."""

from __future__ import annotations

import json
import os
import string
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from etl.errors import UsageError
from etl.settings import DEFAULT_SOURCES, ENV_PREFIX, Loaded, Settings, load

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

KEY = "correct horse battery staple"

# For each setting texts that are allowed; none of them is its default.
TEXTS: dict[str, st.SearchStrategy[str]] = {
    "sources": st.lists(st.text(string.ascii_letters, min_size=1), min_size=1, max_size=3).map(",".join),
    "lake": st.text(string.ascii_letters, min_size=1).map("lake-{}".format),
    "spark_project": st.text(string.ascii_letters, min_size=1),
    "spark_region": st.text(string.ascii_letters, min_size=1),
    "spark_image": st.text(string.ascii_letters, min_size=1),
    "spark_account": st.text(string.ascii_letters, min_size=1),
    "spark_subnet": st.text(string.ascii_letters, min_size=1),
    "spark_bucket": st.text(string.ascii_letters, min_size=1),
    "emails": st.sampled_from(("keep", "drop")),
    "email_key": st.text(string.digits, min_size=16),
    "max_damage": st.integers(2, 100).map("{}%".format),
    "max_compressed_gib": st.integers(2, 1000).map(str),
    "max_expanded_gib": st.integers(65, 1000).map(str),
    "young_hours": st.integers(169, 1000).map(str),
    "connect_timeout": st.integers(11, 1000).map(str),
    "read_timeout": st.integers(61, 1000).map(str),
    "attempts": st.integers(7, 100).map(str),
    "backoff_first": st.integers(2, 60).map(str),
    "backoff_max": st.integers(61, 1000).map(str),
    "suspect_low": st.integers(50, 99).map("0.{}".format),
    "suspect_high": st.integers(4, 100).map(str),
    "suspect_type_low": st.integers(30, 99).map("0.{}".format),
    "suspect_type_high": st.integers(11, 100).map(str),
    "suspect_weeks": st.integers(5, 52).map(str),
    "suspect_min_events": st.integers(1001, 9999).map(str),
    "backfill_retries": st.integers(3, 10).map(str),
    "lock_patience": st.integers(601, 3600).map(str),
    "log_format": st.sampled_from(("plain", "json")),
    "log_level": st.sampled_from(("debug", "warning", "error")),
}
PLACES = ("flags", "environment", ".env", "secrets.json")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without settings to stand in, and no settings in the environment."""
    for name in os.environ:
        if name.upper().startswith(ENV_PREFIX):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@st.composite
def filled_places(draw: st.DrawFn) -> dict[str, dict[str, str]]:
    """Some settings in each of the four places."""
    some = st.fixed_dictionaries({}, optional=TEXTS)
    return {place: draw(some) for place in PLACES}


def load_from(places: Mapping[str, Mapping[str, str]]) -> Loaded:
    """Puts settings into the four places, and loads them."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, text in places.get("environment", {}).items():
            patch.setenv(ENV_PREFIX + name.upper(), text)
        lines = [f"{ENV_PREFIX}{name.upper()}={text}\n" for name, text in places.get(".env", {}).items()]
        Path(".env").write_text("".join(["OTHER_PROGRAM=1\n", *lines]), encoding="utf-8")
        Path("secrets.json").write_text(json.dumps(places.get("secrets.json", {})), encoding="utf-8")
        flags: dict[str, Any] = dict(places.get("flags", {}))
        return load(flags)


@given(filled_places())
def test_the_first_place_that_has_a_setting_wins(places: dict[str, dict[str, str]]) -> None:
    loaded = load_from(places)

    for name in Settings.model_fields:
        winner = next((place for place in PLACES if name in places[place]), None)
        flag = "--source" if name == "sources" else f"--{name.replace('_', '-')}"
        origins = {
            "flags": f"flag {flag}",
            "environment": f"environment {ENV_PREFIX}{name.upper()}",
            None: "default",
        }
        assert loaded.origins[name] == origins.get(winner, winner)
        alone = Settings.model_validate({} if winner is None else {name: places[winner][name]})
        assert getattr(loaded.settings, name) == getattr(alone, name)


@given(filled_places(), filled_places())
def test_a_place_behind_the_first_changes_nothing(
    places: dict[str, dict[str, str]], others: dict[str, dict[str, str]]
) -> None:
    behind = {place: {k: v for k, v in others[place].items() if k in places["flags"]} for place in PLACES[1:]}

    with_flags_only = load_from({"flags": places["flags"]})

    assert load_from({"flags": places["flags"], **behind}).settings == with_flags_only.settings


@given(filled_places())
def test_no_place_lets_the_key_be_seen(places: dict[str, dict[str, str]]) -> None:
    loaded = load_from({**places, "secrets.json": {"email_key": KEY}})

    assert loaded.settings.email_key is not None
    secret = loaded.settings.email_key.get_secret_value()
    assert secret not in repr(loaded)
    assert secret not in str(loaded.shown())


def test_without_any_place_the_defaults_stand() -> None:
    loaded = load()

    assert loaded.settings == Settings()
    assert loaded.settings.sources == DEFAULT_SOURCES
    assert set(loaded.origins.values()) == {"default"}


def test_making_settings_reads_no_place(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("GHARCHIVE_LAKE", "elsewhere")
    (folder / ".env").write_text("GHARCHIVE_EMAILS=drop\n", encoding="utf-8")

    assert Settings().lake == "lake"
    assert Settings().emails == "hash"


def test_settings_cannot_be_changed() -> None:
    settings = Settings()

    with pytest.raises(ValidationError, match="frozen"):
        settings.lake = "elsewhere"  # type: ignore[misc]


def test_flags_that_were_not_given_count_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GHARCHIVE_SOURCES", "here")

    assert load({"sources": (), "lake": None}).settings.sources == ("here",)


@pytest.mark.parametrize("place", ["environment", ".env", "secrets.json", "flag"])
def test_sources_may_be_called_source(place: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    if place == "environment":
        monkeypatch.setenv("GHARCHIVE_SOURCE", "a,b")
    elif place == ".env":
        (folder / ".env").write_text("GHARCHIVE_SOURCE=a,b\n", encoding="utf-8")
    elif place == "secrets.json":
        (folder / "secrets.json").write_text('{"source": ["a", "b"]}', encoding="utf-8")
    assert load({"sources": ("a,b",)} if place == "flag" else {}).settings.sources == ("a", "b")


def test_two_spellings_in_one_place_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GHARCHIVE_SOURCE", "a")
    monkeypatch.setenv("GHARCHIVE_SOURCES", "b")
    with pytest.raises(UsageError, match="the environment sets both GHARCHIVE_SOURCE and GHARCHIVE_SOURCES"):
        load()


@pytest.mark.parametrize(
    ("text", "sources"),
    [
        ("https://a.example, ./b", ("https://a.example", "./b")),
        ('["https://a.example/x,y", "./b"]', ("https://a.example/x,y", "./b")),
        ("one", ("one",)),
    ],
)
def test_sources_are_a_list_with_commas_or_json(
    text: str, sources: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GHARCHIVE_SOURCES", text)

    assert load().settings.sources == sources


@pytest.mark.parametrize(("text", "share"), [("1%", 0.01), (" 2.5 % ", 0.025), ("0.5", 0.5), ("0", 0.0), ("100%", 1.0)])
def test_damage_is_a_fraction_or_a_percentage(text: str, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GHARCHIVE_MAX_DAMAGE", text)

    assert load().settings.max_damage == pytest.approx(share)


@pytest.mark.parametrize(
    ("name", "text", "allowed"),
    [
        ("emails", "hsh", "must be 'hash', 'keep' or 'drop'"),
        ("max_damage", "101%", "must be less than or equal to 1"),
        ("max_damage", "nan", "must be a finite number"),
        ("max_damage", "a lot", "must be a valid number"),
        ("max_damage", "much%", "a percentage such as 1%"),
        ("max_compressed_gib", "0", "must be greater than 0"),
        ("max_expanded_gib", "0", "must be greater than 0"),
        ("attempts", "0", "must be greater than or equal to 1"),
        ("attempts", "many", "must be a valid integer"),
        ("young_hours", "-1", "must be greater than or equal to 0"),
        ("backoff_max", "0.5", "must be at least backoff_first (1)"),
        ("sources", ",", "must have at least one source"),
        ("sources", '["a"', "must be a JSON array or a comma-separated list"),
        ("log_level", "loud", "must be 'debug', 'info', 'warning' or 'error'"),
    ],
)
def test_a_wrong_value_is_reported_with_its_place_and_what_is_allowed(
    name: str, text: str, allowed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENV_PREFIX + name.upper(), text)

    with pytest.raises(UsageError) as caught:
        load()

    assert caught.value.message.startswith(f"{name} (from environment {ENV_PREFIX}{name.upper()}) is ")
    assert repr(text) in caught.value.message
    assert allowed in caught.value.message


def test_all_wrong_values_are_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GHARCHIVE_ATTEMPTS", "0")
    monkeypatch.setenv("GHARCHIVE_LOG_FORMAT", "xml")

    with pytest.raises(UsageError, match=r"attempts .*; log_format "):
        load()


@pytest.mark.parametrize("key", ["tooshort-secret", " leading space is lost easily", "line end, too, is lost\n"])
def test_a_key_that_is_refused_is_not_shown(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GHARCHIVE_EMAIL_KEY", key)

    with pytest.raises(UsageError) as caught:
        load()

    assert key.strip() not in f"{caught.value.message} {caught.value.hint} {caught.value!r}"
    assert "email_key (from environment GHARCHIVE_EMAIL_KEY)" in caught.value.message


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("GHARCHIVE_LAEK", "did you mean GHARCHIVE_LAKE?"),
        ("GHARCHIVE_SORCES", "did you mean GHARCHIVE_SOURCES?"),
        ("gharchive_emial_key", "did you mean GHARCHIVE_EMAIL_KEY?"),
        ("GHARCHIVE_QQQQ", "known keys: GHARCHIVE_SOURCES, GHARCHIVE_COMPLETENESS, GHARCHIVE_LAKE"),
    ],
)
@pytest.mark.parametrize("place", ["environment", ".env"])
def test_an_unknown_variable_is_refused(
    key: str, hint: str, place: str, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    if place == "environment":
        monkeypatch.setenv(key, KEY)
    else:
        (folder / ".env").write_text(f"{key}={KEY}\n", encoding="utf-8")

    with pytest.raises(UsageError) as caught:
        load()

    assert f"{place} has an unknown key {key.upper()}" in caught.value.message
    assert hint in str(caught.value.hint)
    assert KEY not in f"{caught.value.message} {caught.value.hint}"


def test_an_unknown_key_in_the_secrets_file_is_refused(folder: Path) -> None:
    (folder / "secrets.json").write_text(json.dumps({"email_keys": KEY}), encoding="utf-8")

    with pytest.raises(UsageError, match=r"secrets\.json has an unknown key email_keys") as caught:
        load()

    assert caught.value.hint == "did you mean email_key?"


def test_an_unknown_flag_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown key lakes"):
        load({"lakes": "x"})


@pytest.mark.parametrize("place", ["environment", ".env"])
def test_an_empty_variable_is_refused(place: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    if place == "environment":
        monkeypatch.setenv("GHARCHIVE_EMAIL_KEY", "")
    else:
        (folder / ".env").write_text("GHARCHIVE_EMAIL_KEY=\n", encoding="utf-8")

    with pytest.raises(UsageError, match=f"GHARCHIVE_EMAIL_KEY in .*{place} is empty"):
        load()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b'{"lake": ', "not valid JSON: Expecting value at line 1"),
        (b"[]", "it is not an object"),
        (b'"lake"', "it is not an object"),
        (b'[["lake", "x"]]', "it is not an object"),
        (b'{"lake": "\xff"}', "it is not UTF-8 text"),
    ],
)
def test_a_secrets_file_that_is_no_object_is_refused(content: bytes, complaint: str, folder: Path) -> None:
    (folder / "secrets.json").write_bytes(content)

    with pytest.raises(UsageError, match=complaint):
        load()


@pytest.mark.parametrize("how", ["flag", "environment", ".env"])
def test_the_secrets_file_can_be_named(how: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    (folder / "other.json").write_text(json.dumps({"lake": "from other"}), encoding="utf-8")
    if how == "environment":
        monkeypatch.setenv("GHARCHIVE_SECRETS_FILE", "other.json")
    elif how == ".env":
        (folder / ".env").write_text("GHARCHIVE_SECRETS_FILE=other.json\n", encoding="utf-8")

    loaded = load({"secrets_file": "other.json"} if how == "flag" else {})

    assert loaded.settings.lake == "from other"
    assert loaded.origins["lake"] == "other.json"


@pytest.mark.parametrize("how", ["--secrets-file", "GHARCHIVE_SECRETS_FILE"])
def test_a_named_secrets_file_must_exist(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "GHARCHIVE_SECRETS_FILE":
        monkeypatch.setenv(how, "absent.json")

    with pytest.raises(UsageError, match=f"{how}: no such file: absent.json"):
        load({"secrets_file": "absent.json"} if how == "--secrets-file" else {})


def test_the_placeholder_of_the_example_is_no_key(folder: Path) -> None:
    (folder / "secrets.json").write_text(json.dumps({"email_key": "replace-me: sixteen and more"}), encoding="utf-8")

    with pytest.raises(UsageError, match="it is the public placeholder"):
        load()


def test_a_password_within_an_address_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GHARCHIVE_SOURCES", "https://joe:pa55@archive.example/x?token=t0k,./plain?not=url")

    shown = {setting.name: setting.value for setting in load().shown()}

    assert shown["sources"] == ["https://***@archive.example/x?***", "./plain?not=url"]


def test_every_setting_says_what_it_is_for() -> None:
    assert all(setting.meaning for setting in load().shown())


def test_the_example_of_a_secrets_file_has_only_known_keys() -> None:
    example = Path(__file__).parents[2] / "secrets.example.json"
    assert set(json.loads(example.read_text(encoding="utf-8"))) <= set(Settings.model_fields)


@pytest.fixture(autouse=True, scope="module")
def _home() -> Iterator[None]:
    """Comes back to the folder that the tests were started in, whatever a property test left."""
    home = Path.cwd()
    yield
    os.chdir(home)


@pytest.mark.parametrize("name", [".env", "secrets.json"])
@pytest.mark.parametrize(
    ("mode", "secret", "warned"),
    [(0o600, True, False), (0o644, True, True), (0o640, True, True), (0o644, False, False), (0o666, False, True)],
)
def test_a_file_of_settings_that_is_open_to_others_is_reported(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    mode: int,
    secret: bool,  # noqa: FBT001
    warned: bool,  # noqa: FBT001
) -> None:
    monkeypatch.chdir(tmp_path)
    key, value = ("email_key", "0123456789abcdef") if secret else ("lake", "somewhere")
    text = f"GHARCHIVE_{key.upper()}={value}" if name == ".env" else json.dumps({key: value})
    path = tmp_path / name
    path.write_text(text)
    path.chmod(mode)
    told = load().warnings
    assert bool(told) is warned
    assert "0123456789abcdef" not in "".join(told)
    assert all(f"(mode {mode:o})" in line and f"chmod 600 {name}" in line for line in told)
