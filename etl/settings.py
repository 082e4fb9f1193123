"""The settings, their sources and their validation. Unknown settings are errors.

A value is taken from the first of these sources that has it:

1. flags of the command line (``--lake``);
2. environment variables (``GHARCHIVE_LAKE``);
3. ``.env`` in the current folder, with the same names (keys without the prefix are ignored);
4. ``secrets.json``, or the file given by ``--secrets-file`` or ``GHARCHIVE_SECRETS_FILE`` (``{"lake": ...}``);
5. the defaults below.

``Settings(...)`` itself reads none of these sources; ``load`` does.
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
"""GH Archive itself, then OpenDigger's mirror, which has collected events independently since 2026-09-06."""

_SECRETS_FILE_KEY: Final = "secrets_file"
_MASK: Final = "********"
_FLAGS: Final = MappingProxyType({"sources": "--source"})
_ALIASES: Final = MappingProxyType({"source": "sources"})
"""Alternative names of settings, accepted in every source."""
_MIN_KEY: Final = 16
_SECRETS: Final = ("email_key",)
_WRITTEN_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH
_READ_BY_OTHERS: Final = stat.S_IRGRP | stat.S_IROTH
_PLACEHOLDER: Final = "replace-me"


class Settings(BaseSettings):
    """All settings, validated and immutable."""

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
        description="URLs or folders to fetch hours from, most trusted first; comma-separated or a JSON array.",
    )
    completeness: Literal["fullest", "first"] = Field(
        "fullest", description="Which source of an hour to use: the fullest, or the first that has it."
    )
    lake: str = Field("lake", min_length=1, description="Location of the lake: a folder or gs://bucket/prefix.")
    warehouse: str = Field(
        "warehouse", min_length=1, description="Location of the warehouse's tables: a folder or gs://bucket/prefix."
    )
    dataset: str | None = Field(
        None, description="BigQuery dataset of the tables: project.dataset, created by Terraform or with bq mk."
    )
    reporting_dataset: str | None = Field(
        None, description="BigQuery dataset of views for reports, authorized to read the tables: project.dataset."
    )
    events_by: Literal["day", "hour"] = Field(
        "day",
        description="Partition granularity of BigQuery's events_base; hour is limited to 416 days (10,000 partitions).",
    )
    spark_project: str | None = Field(
        None, description="Google Cloud project of Spark batches; defaults to the project of the credentials."
    )
    spark_region: str | None = Field(None, description="Google Cloud region of Spark batches.")
    spark_image: str | None = Field(None, description="Container image of Spark batches.")
    spark_account: str | None = Field(None, description="Service account that Spark batches run as.")
    spark_subnet: str | None = Field(None, description="Subnetwork of Spark batches.")
    spark_bucket: str | None = Field(None, description="Name of the bucket for logs and files of Spark batches.")
    spool: str = Field(
        "spool", min_length=1, description="Local staging folder for hours that a Mage run is processing."
    )
    emails: Literal["hash", "keep", "drop"] = Field(
        "hash", description="How e-mail addresses are stored: hash (SHA-1, or HMAC with email_key), keep or drop."
    )
    email_key: SecretStr | None = Field(
        None, description=f"Secret key for HMAC-SHA-256 of e-mail addresses, at least {_MIN_KEY} characters."
    )
    max_damage: float = Field(
        0.01, ge=0, le=1, description="Share of an hour that may be unreadable before it is partial: 0.01 or 1%."
    )
    max_compressed_gib: float = Field(
        1, gt=0, description="Maximum size of an hour's file in GiB; the largest known file has 0.34."
    )
    max_expanded_gib: float = Field(
        64, gt=0, description="Maximum decompressed size of an hour in GiB; more counts as a decompression bomb."
    )
    young_hours: int = Field(168, ge=0, description="Hours during which a 404 means pending; after that, missing.")
    connect_timeout: float = Field(10.0, gt=0, description="Connection timeout in seconds.")
    read_timeout: float = Field(
        60.0, gt=0, description="Seconds to wait for the response headers, and for each 64 KiB of a body."
    )
    ask_timeout: float = Field(
        5.0, gt=0, description="Seconds that all sources together have to say how much of an hour they hold."
    )
    attempts: int = Field(6, ge=1, le=100, description="Maximum attempts per source before the next one is tried.")
    backoff_first: float = Field(
        1.0, ge=0, description="Seconds to wait before the second attempt; doubles with each further attempt."
    )
    backoff_max: float = Field(60.0, ge=0, description="Maximum seconds to wait between attempts.")
    backfill_retries: int = Field(
        2, ge=0, le=10, description="Times that a backfill retries its failed hours, after all other hours."
    )
    lock_patience: float = Field(
        600.0, ge=0, description="Seconds that a backfill waits at the end for hours locked by another run."
    )
    suspect_low: float = Field(
        0.4, ge=0, lt=1, description="An hour is suspect if its events are below this share of the baseline."
    )
    suspect_high: float = Field(
        3.0, gt=1, description="An hour is suspect if its events are above this multiple of the baseline."
    )
    suspect_type_low: float = Field(0.2, ge=0, lt=1, description="Like suspect_low, for each event type.")
    suspect_type_high: float = Field(10.0, gt=1, description="Like suspect_high, for each event type.")
    suspect_weeks: int = Field(
        4, ge=2, le=52, description="Weeks before and after an hour whose median is its baseline."
    )
    suspect_min_events: int = Field(1000, ge=1, description="Smallest median, in events, that is used as a baseline.")
    log_format: Literal["auto", "plain", "json"] = Field(
        "auto", description="Log format; auto is readable text on a terminal, JSON in the cloud, and plain otherwise."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Minimum level of logs.")

    @property
    def email_key_bytes(self) -> bytes | None:
        """``email_key`` as bytes; None if it is not set."""
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
                raise ValueError(f"it must be a JSON array or a comma-separated list ({error.msg})") from error
        return tuple(part.strip() for part in value.split(","))

    @field_validator("sources")
    @classmethod
    def _check_sources(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or not all(address.strip() for address in value):
            raise ValueError("it must have at least one source, and no source may be empty")
        return value

    @field_validator("email_key")
    @classmethod
    def _check_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        key = value.get_secret_value()
        if key.startswith(_PLACEHOLDER):
            raise ValueError("it is the public placeholder of secrets.example.json; set a key of your own")
        if len(key) < _MIN_KEY:
            raise ValueError(f"it must have at least {_MIN_KEY} characters")
        if key != key.strip():
            raise ValueError("it must not start or end with white space, which is easily lost when a key is copied")
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
            raise ValueError(f"it must be at least backoff_first ({first:g})")
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
        """Disables all sources except arguments: ``load`` reads the others and records the origins."""
        return (init_settings,)


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting that is safe to display.

    Attributes:
        name: The key, as in ``secrets.json``.
        value: The value as a JSON type; secrets are masked.
        origin: Where the value comes from: ``flag --lake``, ``environment GHARCHIVE_LAKE``, ``.env``, ``default`` ...
        meaning: The description.
    """

    name: str
    value: str | float | list[str] | None
    origin: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings with the origin of each value.

    Attributes:
        settings: The settings.
        origins: Origin of each value, by key.
        warnings: Warnings about the sources of the settings.
    """

    settings: Settings
    origins: Mapping[str, str]
    warnings: tuple[str, ...] = ()

    def shown(self) -> list[Setting]:
        """Returns all settings in documented order, with secrets masked."""
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
class _SettingsSource:
    """A source of settings: its values, and a function that returns the origin to display for a key."""

    values: Mapping[str, Any]
    origin: Callable[[str], str]


class _SecretsFileSource(JsonConfigSettingsSource):
    """Reads a JSON file; unlike its base class, it rejects anything but an object, such as an empty list."""

    @override
    def _read_file(self, file_path: Path) -> dict[str, Any]:
        content = super()._read_file(file_path)
        if not isinstance(content, dict):
            raise TypeError
        return content


def load(flags: Mapping[str, object] | None = None) -> Loaded:
    """Loads the settings from all sources.

    Args:
        flags: Values of command-line flags by setting, and ``secrets_file``; None and ``()`` mean "not given".

    Raises:
        UsageError: If a source has an unknown key, a value is invalid, or a file cannot be read.
    """
    given = {name: value for name, value in (flags or {}).items() if value not in (None, ())}
    if isinstance(sources := given.get("sources"), tuple) and len(sources) == 1:
        given["sources"] = sources[0]  # One value may list several, as in a variable.
    environment = EnvSettingsSource(Settings)
    dotenv = _read_dotenv()
    secrets_file = _secrets_file(given.pop(_SECRETS_FILE_KEY, None), environment.env_vars, dotenv.env_vars)
    _refuse_unknown(given, known=Settings.model_fields, place="the call")
    sources_of_settings = (
        _SettingsSource(given, lambda name: f"flag {_FLAGS.get(name, '--' + name.replace('_', '-'))}"),
        _SettingsSource(_variables(environment, "the environment"), lambda name: f"environment {_env_name(name)}"),
        _SettingsSource(_variables(dotenv, DOTENV), lambda _: DOTENV),
        _SettingsSource(_read_secrets(*secrets_file), lambda _: str(secrets_file[0])),
    )
    values, origins = _first_of(sources_of_settings)
    try:
        return Loaded(
            settings=Settings(**values),
            origins=MappingProxyType(origins),
            warnings=tuple(_exposed(Path(name)) for name in (DOTENV, secrets_file[0]) if _is_exposed(Path(name))),
        )
    except ValidationError as error:
        raise _usage_error(error, values, origins) from None


def _first_of(sources: tuple[_SettingsSource, ...]) -> tuple[dict[str, Any], dict[str, str]]:
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name in Settings.model_fields:
        source = next((source for source in sources if name in source.values), None)
        origins[name] = "default" if source is None else source.origin(name)
        if source is not None:
            values[name] = source.values[name]
    return values, origins


def _read_dotenv() -> DotEnvSettingsSource:
    try:
        return DotEnvSettingsSource(Settings, env_file=DOTENV, env_file_encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {DOTENV}: {_describe_error(error)}") from error


def _variables(source: EnvSettingsSource, place: str) -> dict[str, str]:
    """Returns the settings of an environment, whose names are already in lower case."""
    prefix = ENV_PREFIX.lower()
    ours = {key.removeprefix(prefix): text for key, text in source.env_vars.items() if key.startswith(prefix)}
    _refuse_unknown(ours, known=[*Settings.model_fields, *_ALIASES, _SECRETS_FILE_KEY], place=place, as_variables=True)
    for name, text in ours.items():
        if not text:
            raise UsageError(
                f"{_env_name(name)} in {place} is empty",
                hint="set a value, or remove it to use the next source or the default",
            )
    known = {name: text for name, text in source().items() if name in Settings.model_fields}
    return known | _aliased(ours, place, as_variables=True)


def _secrets_file(flag: object, *variables: Mapping[str, str | None]) -> tuple[Path, str | None]:
    """Returns the secrets file and the flag or variable that names it; None for the default, which need not exist."""
    if flag is not None:
        return Path(str(flag)), "--secrets-file"
    key = _env_name(_SECRETS_FILE_KEY)
    for mapping in variables:
        if named := mapping.get(key.lower()):
            return Path(named), key
    return Path(SECRETS_FILE), None


def _read_secrets(path: Path, named_by: str | None) -> dict[str, Any]:
    if named_by is not None and not path.is_file():
        raise UsageError(f"{named_by}: no such file: {path}", hint="see secrets.example.json for an example")
    try:
        source = _SecretsFileSource(Settings, json_file=path, json_file_encoding="utf-8")
    except json.JSONDecodeError as error:
        raise UsageError(
            f"{path} is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}",
            hint="see secrets.example.json for an example",
        ) from None
    except (TypeError, UnicodeDecodeError, OSError) as error:
        raise UsageError(
            f"cannot read {path} as a JSON object of settings: {_describe_error(error)}",
            hint="see secrets.example.json for an example",
        ) from None
    values: dict[str, Any] = source.json_data
    _refuse_unknown(values, known=[*Settings.model_fields, *_ALIASES], place=str(path))
    return {name: value for name, value in values.items() if name not in _ALIASES} | _aliased(values, str(path))


def _aliased(values: Mapping[str, Any], place: str, *, as_variables: bool = False) -> dict[str, Any]:
    """Returns the values set under alternative names, by the settings' names."""
    spell = _env_name if as_variables else str
    for alias, name in _ALIASES.items():
        if alias in values and name in values:
            raise UsageError(f"{place} sets both {spell(alias)} and {spell(name)}", hint="remove one of them")
    return {name: values[alias] for alias, name in _ALIASES.items() if alias in values}


def _is_exposed(path: Path) -> bool:
    """Returns whether other users can write the file, or read it if it has a secret."""
    try:
        mode = path.stat().st_mode
        content = path.read_bytes()
    except OSError:
        return False
    has_secret = any(name.encode() in content.lower() for name in _SECRETS)
    return bool(mode & _WRITTEN_BY_OTHERS) or (has_secret and bool(mode & _READ_BY_OTHERS))


def _exposed(path: Path) -> str:
    mode = stat.S_IMODE(path.stat().st_mode)
    return f"{path} is accessible to other users of this machine (mode {mode:o}): run `chmod 600 {path}`"


def _describe_error(error: Exception) -> str:
    """Returns why a file cannot be read, without any of its content."""
    if isinstance(error, OSError):
        return error.strerror or "input/output error"
    return "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else "it is not an object"


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


def _usage_error(error: ValidationError, values: Mapping[str, Any], origins: Mapping[str, str]) -> UsageError:
    problems: dict[str, str] = {}
    for problem in error.errors(include_input=False):
        problems.setdefault(str(problem["loc"][0]), problem["msg"])
    return UsageError(
        "; ".join(
            f"{name} (from {origins[name]}) is {_quoted(name, values)}: {_requirement(message)}"
            for name, message in problems.items()
        ),
        hint="run `python etl settings` to list all settings and where their values come from",
    )


def _requirement(message: str) -> str:
    """Rewrites a validation message of pydantic in the style of our own."""
    text = message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return text.replace("Input should", "it must").partition(", unable to parse")[0]


def _quoted(name: str, values: Mapping[str, Any]) -> str:
    if name not in values:
        return repr(_masked(Settings.model_fields[name].default))
    if name == "email_key":
        return "not a usable key (its value is not shown)"
    return repr(_masked(values[name]))


def _masked(value: object) -> str | float | list[str] | None:
    """Returns a value that is safe to display: without secrets, and without credentials or signatures in addresses."""
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
