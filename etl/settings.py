"""The settings: what may be set, where each value comes from, and a refusal of everything unknown.

A value is taken from the first of these places that has it:

1. flags of the command line (``--lake``);
2. the environment (``GHARCHIVE_LAKE``);
3. ``.env`` in the current folder, same names (keys without the prefix belong to other programs);
4. ``secrets.json``, or the file that ``--secrets-file`` or ``GHARCHIVE_SECRETS_FILE`` names (``{"lake": ...}``);
5. the defaults below.

``Settings(...)`` itself reads none of these places; ``load`` does.
"""

from __future__ import annotations

import difflib
import json
import stat
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from urllib.parse import urlsplit, urlunsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    JsonConfigSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from typing_extensions import override

from etl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ENV_PREFIX: Final = "GHARCHIVE_"
DOTENV: Final = ".env"
SECRETS_FILE: Final = "secrets.json"
DEFAULT_SOURCES: Final = ("https://data.gharchive.org", "https://gharchive.open-digger.cn")
"""GH Archive itself, then OpenDigger's mirror, which crawls on its own since 2026-09-06."""

_SECRETS_FILE_KEY: Final = "secrets_file"
_MASK: Final = "********"
_FLAGS: Final = MappingProxyType({"sources": "--source"})
_ALIASES: Final = MappingProxyType({"source": "sources"})
"""Other spellings of settings, in every place."""
_MIN_KEY: Final = 16
_SECRETS: Final = ("email_key",)
_WRITTEN_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH
_READ_BY_OTHERS: Final = stat.S_IRGRP | stat.S_IROTH
_PLACEHOLDER: Final = "replace-me"


class Settings(BaseSettings):
    """Everything that may be set, checked, and unchangeable afterwards."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        validate_default=True,
        hide_input_in_errors=True,
    )

    sources: Annotated[tuple[str, ...], NoDecode] = Field(
        DEFAULT_SOURCES,
        description="Where hours are fetched, in order of trust: URLs or folders, separated by commas or a JSON array.",
    )
    lake: str = Field("lake", min_length=1, description="Where hours are stored: a folder, or gs://bucket/prefix.")
    warehouse: str = Field(
        "warehouse", min_length=1, description="Where tables are built: a folder, or gs://bucket/prefix."
    )
    dataset: str | None = Field(
        None, description="Where BigQuery has the tables: project.dataset, made by Terraform or with bq mk."
    )
    reporting_dataset: str | None = Field(
        None, description="Where BigQuery has views for reports, authorised to read the tables: project.dataset."
    )
    events_by: Literal["day", "hour"] = Field(
        "day", description="How BigQuery cuts events_base; hours end after 416 days, at 10,000 partitions."
    )
    spark_project: str | None = Field(
        None, description="The project that Spark's batches run in; without it, that of the credentials."
    )
    spark_region: str | None = Field(None, description="The region of Google Cloud that Spark's batches run in.")
    spark_image: str | None = Field(None, description="The container image that Spark's batches run in.")
    spark_account: str | None = Field(None, description="The service account that Spark's batches run as.")
    spark_subnet: str | None = Field(None, description="The subnetwork of Spark's batches.")
    spark_bucket: str | None = Field(None, description="The name of a bucket for logs and files of Spark's batches.")
    spool: str = Field(
        "spool", min_length=1, description="A folder of this machine where Mage's blocks put an hour on its way."
    )
    emails: Literal["hash", "keep", "drop"] = Field(
        "hash", description="What becomes of e-mail addresses: hash (SHA-1, or HMAC with email_key), keep or drop."
    )
    email_key: SecretStr | None = Field(
        None, description=f"Key of a HMAC-SHA-256 over e-mail addresses, {_MIN_KEY} characters or more; a secret."
    )
    max_damage: float = Field(
        0.01, ge=0, le=1, description="Share of an hour that may be unreadable before it is partial: 0.01 or 1%."
    )
    max_compressed_gib: float = Field(
        1, gt=0, description="GiB that one hour's file may have; the largest known one has 0.34."
    )
    max_expanded_gib: float = Field(
        64, gt=0, description="GiB that one hour may expand to; more is taken for a decompression bomb."
    )
    young_hours: int = Field(
        168, ge=0, description="Hours during which a 404 means pending; an older one means missing."
    )
    connect_timeout: float = Field(10.0, gt=0, description="Seconds to wait for a connection.")
    read_timeout: float = Field(
        60.0, gt=0, description="Seconds to wait for the head of an answer, and for each 64 KiB of a body."
    )
    attempts: int = Field(6, ge=1, le=100, description="Tries at one source before the next one is asked.")
    backoff_first: float = Field(1.0, ge=0, description="Seconds before the second try; doubled for each further one.")
    backoff_max: float = Field(60.0, ge=0, description="The longest wait between tries in seconds.")
    backfill_retries: int = Field(
        2, ge=0, le=10, description="Rounds in which a backfill tries hours again that failed, after all others."
    )
    lock_patience: float = Field(
        600.0, ge=0, description="Seconds a backfill waits at its end for hours that another run is working on."
    )
    suspect_low: float = Field(
        0.4, ge=0, lt=1, description="Share of the median around it below which an hour's events are suspect."
    )
    suspect_high: float = Field(
        3.0, gt=1, description="Multiple of the median around it above which an hour's events are suspect."
    )
    suspect_type_low: float = Field(0.2, ge=0, lt=1, description="As suspect_low, for each type of event.")
    suspect_type_high: float = Field(10.0, gt=1, description="As suspect_high, for each type of event.")
    suspect_weeks: int = Field(4, ge=2, le=52, description="Weeks on each side used as the baseline.")
    suspect_min_events: int = Field(1000, ge=1, description="Smallest median, in events, that is used as a baseline.")
    log_format: Literal["auto", "plain", "json"] = Field(
        "auto", description="How logs are written: auto is for people on a terminal, JSON in the cloud, else plain."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least severe log that is written."
    )

    @property
    def email_key_bytes(self) -> bytes | None:
        """The key over e-mail addresses as the policy takes it; None without one."""
        return None if self.email_key is None else self.email_key.get_secret_value().encode()

    @field_validator("sources", mode="before")
    @classmethod
    def _split_sources(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            try:
                return json.loads(value)
            except json.JSONDecodeError as error:
                raise ValueError(f"it must be a JSON array or a list with commas ({error.msg})") from error
        return tuple(part.strip() for part in value.split(","))

    @field_validator("sources")
    @classmethod
    def _check_sources(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or not all(address.strip() for address in value):
            raise ValueError("it must name one place or more, and none of the names may be empty")
        return value

    @field_validator("email_key")
    @classmethod
    def _check_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        key = value.get_secret_value()
        if key.startswith(_PLACEHOLDER):
            raise ValueError("it is still the example's, which everybody knows")
        if len(key) < _MIN_KEY:
            raise ValueError(f"it must have {_MIN_KEY} characters or more")
        if key != key.strip():
            raise ValueError("it must not begin or end with white space, which is easily lost when a key is copied")
        return value

    @field_validator("max_damage", mode="before")
    @classmethod
    def _read_percent(cls, value: object) -> object:
        if not isinstance(value, str) or not value.strip().endswith("%"):
            return value
        try:
            return float(value.strip()[:-1]) / 100
        except ValueError as error:
            raise ValueError("it must be a fraction such as 0.01 or a percentage such as 1%") from error

    @field_validator("backoff_max")
    @classmethod
    def _check_backoff(cls, value: float, info: ValidationInfo) -> float:
        first = info.data.get("backoff_first", 0.0)
        if value < first:
            raise ValueError(f"it must be no less than backoff_first ({first:g})")
        return value

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Leaves only the arguments: reading the environment is ``load``'s work, which also tells the origins."""
        return (init_settings,)


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as it may be shown to anybody.

    Attributes:
        name: The key, as in ``secrets.json``.
        value: What it is, in JSON's types; a secret is masked.
        origin: The place it came from: ``flag --lake``, ``environment GHARCHIVE_LAKE``, ``.env``, ``default`` ...
        meaning: What it is for.
    """

    name: str
    value: str | float | list[str] | None
    origin: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings, and for each key the place its value came from.

    Attributes:
        settings: The settings.
        origins: The places, by key.
        warnings: What somebody should know of these places.
    """

    settings: Settings
    origins: Mapping[str, str]
    warnings: tuple[str, ...] = ()

    def shown(self) -> list[Setting]:
        """Lists all settings in their documented order, secrets masked."""
        return [
            Setting(
                name=name,
                value=_masked(getattr(self.settings, name)),
                origin=self.origins[name],
                meaning=field.description or "",
            )
            for name, field in Settings.model_fields.items()
        ]


@dataclass(frozen=True, slots=True)
class _Place:
    """One place that settings come from: what it holds, and how it is called for one setting of it."""

    values: Mapping[str, Any]
    origin: Callable[[str], str]


class _SecretsFileSource(JsonConfigSettingsSource):
    """The library's reader of JSON files, which would take an empty list for a file without settings."""

    @override
    def _read_file(self, file_path: Path) -> dict[str, Any]:
        content = super()._read_file(file_path)
        if not isinstance(content, dict):
            raise TypeError
        return content


def load(flags: Mapping[str, object] | None = None) -> Loaded:
    """Reads the settings from all places.

    Args:
        flags: What the command line gave, by setting, and ``secrets_file``; None and ``()`` mean "not given".

    Raises:
        UsageError: If a place holds an unknown key, a value is not allowed, or a file cannot be read.
    """
    given = {name: value for name, value in (flags or {}).items() if value not in (None, ())}
    if isinstance(sources := given.get("sources"), tuple) and len(sources) == 1:
        given["sources"] = sources[0]  # One text may name several, as it may in a variable.
    environment = EnvSettingsSource(Settings)
    dotenv = _read_dotenv()
    secrets_file = _secrets_file(given.pop(_SECRETS_FILE_KEY, None), environment.env_vars, dotenv.env_vars)
    _refuse_unknown(given, known=Settings.model_fields, place="the call")
    places = (
        _Place(given, lambda name: f"flag {_FLAGS.get(name, '--' + name.replace('_', '-'))}"),
        _Place(_variables(environment, "the environment"), lambda name: f"environment {_env_name(name)}"),
        _Place(_variables(dotenv, DOTENV), lambda _: DOTENV),
        _Place(_read_secrets(*secrets_file), lambda _: str(secrets_file[0])),
    )
    values, origins = _first_of(places)
    try:
        return Loaded(
            settings=Settings(**values),
            origins=MappingProxyType(origins),
            warnings=tuple(_exposed(Path(name)) for name in (DOTENV, secrets_file[0]) if _is_exposed(Path(name))),
        )
    except ValidationError as error:
        raise _explained(error, values, origins) from None


def _first_of(places: tuple[_Place, ...]) -> tuple[dict[str, Any], dict[str, str]]:
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name in Settings.model_fields:
        place = next((place for place in places if name in place.values), None)
        origins[name] = "default" if place is None else place.origin(name)
        if place is not None:
            values[name] = place.values[name]
    return values, origins


def _read_dotenv() -> DotEnvSettingsSource:
    try:
        return DotEnvSettingsSource(Settings, env_file=DOTENV, env_file_encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{DOTENV} cannot be read: {_why(error)}") from error


def _variables(source: EnvSettingsSource, place: str) -> dict[str, str]:
    """Takes the settings out of an environment, where all names are in lower case by now."""
    prefix = ENV_PREFIX.lower()
    ours = {key.removeprefix(prefix): text for key, text in source.env_vars.items() if key.startswith(prefix)}
    _refuse_unknown(ours, known=[*Settings.model_fields, *_ALIASES, _SECRETS_FILE_KEY], place=place, as_variables=True)
    for name, text in ours.items():
        if not text:
            raise UsageError(
                f"{_env_name(name)} in {place} is empty",
                hint="give it a value, or remove it to have the next place's value or the default",
            )
    known = {name: text for name, text in source().items() if name in Settings.model_fields}
    return known | _aliased(ours, place, as_variables=True)


def _secrets_file(flag: object, *variables: Mapping[str, str | None]) -> tuple[Path, str | None]:
    """Finds the secrets file, and who named it: None when it is only the default, which need not exist."""
    if flag is not None:
        return Path(str(flag)), "--secrets-file"
    key = _env_name(_SECRETS_FILE_KEY)
    for mapping in variables:
        if named := mapping.get(key.lower()):
            return Path(named), key
    return Path(SECRETS_FILE), None


def _read_secrets(path: Path, named_by: str | None) -> dict[str, Any]:
    if named_by is not None and not path.is_file():
        raise UsageError(f"{named_by} names {path}, and there is no such file", hint="secrets.example.json shows one")
    try:
        source = _SecretsFileSource(Settings, json_file=path, json_file_encoding="utf-8")
    except json.JSONDecodeError as error:
        raise UsageError(
            f"{path} is not JSON: {error.msg} in line {error.lineno}, column {error.colno}",
            hint="secrets.example.json shows its form",
        ) from None
    except (TypeError, UnicodeDecodeError, OSError) as error:
        raise UsageError(
            f"{path} cannot be read as a JSON object of settings: {_why(error)}",
            hint="secrets.example.json shows its form",
        ) from None
    values: dict[str, Any] = source.json_data
    _refuse_unknown(values, known=[*Settings.model_fields, *_ALIASES], place=str(path))
    return {name: value for name, value in values.items() if name not in _ALIASES} | _aliased(values, str(path))


def _aliased(values: Mapping[str, Any], place: str, *, as_variables: bool = False) -> dict[str, Any]:
    """Returns what stands under other spellings of settings, by the settings' names."""
    spell = _env_name if as_variables else str
    for alias, name in _ALIASES.items():
        if alias in values and name in values:
            raise UsageError(f"{place} has both {spell(alias)} and {spell(name)}", hint="remove one of them")
    return {name: values[alias] for alias, name in _ALIASES.items() if alias in values}


def _is_exposed(path: Path) -> bool:
    """Whether others may write a file of settings, or read the secret in it."""
    try:
        mode = path.stat().st_mode
        content = path.read_bytes()
    except OSError:
        return False
    has_secret = any(name.encode() in content.lower() for name in _SECRETS)
    return bool(mode & _WRITTEN_BY_OTHERS) or (has_secret and bool(mode & _READ_BY_OTHERS))


def _exposed(path: Path) -> str:
    mode = stat.S_IMODE(path.stat().st_mode)
    return f"{path} is open to other users of this machine (mode {mode:o}): run `chmod 600 {path}`"


def _why(error: Exception) -> str:
    """Says why a file cannot be read, without any of what it holds."""
    if isinstance(error, OSError):
        return error.strerror or "input/output error"
    return "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else "it is of another type"


def _refuse_unknown(
    keys: Mapping[str, object], *, known: Mapping[str, object] | list[str], place: str, as_variables: bool = False
) -> None:
    names = list(known)
    spell = _env_name if as_variables else str
    for key in keys:
        if key in names:
            continue
        close = difflib.get_close_matches(key.lower(), names, n=1)
        raise UsageError(
            f"{place} has an unknown key {spell(key)}",
            hint=f"did you mean {spell(close[0])}?" if close else f"known keys: {', '.join(map(spell, names))}",
        )


def _explained(error: ValidationError, values: Mapping[str, Any], origins: Mapping[str, str]) -> UsageError:
    problems: dict[str, str] = {}
    for problem in error.errors(include_input=False):
        problems.setdefault(str(problem["loc"][0]), problem["msg"])
    return UsageError(
        "; ".join(
            f"{name} (from {origins[name]}) is {_quoted(name, values)}: {_allowed(message)}"
            for name, message in problems.items()
        ),
        hint="`python etl settings` shows every setting and where its value comes from",
    )


def _allowed(message: str) -> str:
    """Turns the library's way of saying what is allowed into ours."""
    said = message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return said.replace("Input should", "it must").partition(", unable to parse")[0]


def _quoted(name: str, values: Mapping[str, Any]) -> str:
    if name not in values:
        return repr(_masked(Settings.model_fields[name].default))
    if name == "email_key":
        return "not a usable key (its value is not shown)"
    return repr(_masked(values[name]))


def _masked(value: object) -> str | float | list[str] | None:
    """Turns a value into what may be shown: no secret, and no password or signature within an address."""
    if isinstance(value, SecretStr):
        return _MASK
    if isinstance(value, tuple | list):
        return [_masked_address(str(part)) for part in value]
    return value if value is None or isinstance(value, int | float) else _masked_address(str(value))


def _masked_address(text: str) -> str:
    try:
        parts = urlsplit(text)
    except ValueError:
        return _MASK
    host = f"***@{parts.netloc.rpartition('@')[2]}" if "@" in parts.netloc else parts.netloc
    return urlunsplit(parts._replace(netloc=host, query="***" if parts.query else "")) if parts.netloc else text


def _env_name(name: str) -> str:
    return ENV_PREFIX + name.upper()
