"""Settings: flag > environment > ``.env`` > ``config.ini`` > default. The only reader of the environment.

One rule names a setting everywhere: key ``port`` of section ``[api]`` in config.ini is the field ``api_port`` here and
``GRISTMILL_API_PORT`` in the environment. ``config.ini`` documents every key; a test compares the two.
"""

import configparser
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from gristmill.core.errors import Invalid, Violation

MIB = 1024 * 1024


class _IniSource(PydanticBaseSettingsSource):
    """Reads ``config.ini`` (or the file that GRISTMILL_CONFIG names) from the working directory."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        path = Path(os.environ.get("GRISTMILL_CONFIG", "config.ini"))
        if not path.is_file():
            return {}
        parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=None)
        parser.read(path, encoding="utf-8")
        return {
            f"{section}_{key}": value
            for section in parser.sections()
            for key, value in parser.items(section)
            if value.strip() != ""
        }


class Settings(BaseSettings):
    """Every setting, with its default. Sizes are bytes, times are seconds unless the name says otherwise."""

    model_config = SettingsConfigDict(
        env_prefix="GRISTMILL_", env_file=".env", env_file_encoding="utf-8", extra="ignore", env_ignore_empty=True
    )

    # [database]
    database_url: str = "postgresql://gristmill@127.0.0.1:5432/gristmill"
    database_pool: int = Field(10, ge=1, le=500)
    database_statement_timeout: float = Field(30, gt=0)
    database_tablespace: str = Field("", pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$", max_length=63)
    # [broker]
    broker_url: str = "amqp://guest:guest@127.0.0.1:5672//"
    broker_confirm_timeout: float = Field(5, gt=0)
    # [api]
    api_host: str = "127.0.0.1"
    api_port: int = Field(8000, ge=0, le=65535)
    api_require_key: bool = False
    api_bootstrap_key: str = ""
    api_max_body_bytes: int = Field(2048 * MIB, ge=1024)
    api_max_json_bytes: int = Field(16 * MIB, ge=1024)
    api_max_zip_entries: int = Field(100_000, ge=1, le=10_000_000)
    api_spool_dir: str = ""
    api_max_spool_bytes: int = Field(8192 * MIB, ge=MIB)
    api_max_wait: float = Field(30, ge=0, le=300)
    # A browser sends an origin without path and slash: any other would never match.
    api_cors_origins: str = Field("", pattern=r"^\s*((\*|[a-z][a-z0-9+.-]*://[^\s/?#]+)(\s+|$))*$")
    api_requests_per_second: float = Field(0, ge=0, le=1_000_000)
    api_threads: int = Field(40, ge=2, le=500)
    # [jobs]
    jobs_max_attempts: int = Field(5, ge=1, le=100)
    jobs_max_queued: int = Field(1_000_000, ge=1)
    jobs_max_staged_bytes: int = Field(8192 * MIB, ge=MIB)
    jobs_max_rejects: int = Field(100_000, ge=0, le=10_000_000)
    jobs_chunk_bytes: int = Field(8 * MIB, ge=1024, le=8 * MIB)
    jobs_chunk_records: int = Field(10_000, ge=1, le=1_000_000)
    jobs_lease: float = Field(60, ge=1)
    jobs_heartbeat: float = Field(10, gt=0)
    jobs_retry_base: float = Field(1, gt=0)
    jobs_retry_max: float = Field(300, gt=0)
    jobs_resend_after: float = Field(60, gt=0)
    jobs_retention_days: float = Field(30, gt=0)
    jobs_expire_every: float = Field(300, gt=0)
    jobs_idempotency_hours: float = Field(24, gt=0)
    jobs_plugins: str = ""
    # [dispatcher]
    dispatcher_window: int = Field(0, ge=0)
    dispatcher_poll: float = Field(1, gt=0, le=60)
    dispatcher_bundle: int = Field(32, ge=1, le=500)
    dispatcher_gather: float = Field(0.03, gt=0, le=1)
    # [worker]
    worker_processes: int = Field(2, ge=1, le=256)
    worker_long_processes: int = Field(1, ge=1, le=256)
    worker_soft_time_limit: float = Field(300, gt=0)
    worker_time_limit: float = Field(360, gt=0)
    worker_long_soft_time_limit: float = Field(6 * 3600, gt=0)
    worker_long_time_limit: float = Field(6 * 3600 + 600, gt=0)
    worker_drain_seconds: float = Field(20, ge=0)
    worker_tasks_per_child: int = Field(10_000, ge=1)
    # [transforms]
    transforms_secrets: str = ""
    transforms_max_batch_records: int = Field(1_000_000, ge=1, le=1_000_000)
    # [reads]
    reads_max_expanded: int = Field(100_000, ge=1, le=1_000_000)
    reads_max_expanded_bytes: int = Field(256 * MIB, ge=1024, le=1024 * MIB)
    # [views]
    views_max_rows: int = Field(200_000, ge=1, le=10_000_000)
    views_max_bytes: int = Field(64 * MIB, ge=1024, le=1024 * MIB)
    # [embeddings]
    embeddings_default: str = "static"
    # [export]
    export_concurrent: int = Field(16, ge=1, le=1000)
    export_patience: float = Field(60, ge=0)
    export_stall: float = Field(300, gt=0)
    export_keep_days: float = Field(7, gt=0, le=36_500)
    export_grace: float = Field(3600, ge=0)
    export_max_stored_bytes: int = Field(256 * 1024 * MIB, ge=MIB)
    # [aggregate]
    aggregate_max_rows: int = Field(10_000_000, ge=1, le=1_000_000_000)
    aggregate_concurrent: int = Field(64, ge=1, le=1000)
    # [storage]
    storage_url: str = Field("", pattern=r"^(/.*|file:///.*|s3://[A-Za-z0-9._-]+(/.*)?)?$", max_length=2000)
    storage_endpoint: str = ""
    storage_region: str = "us-east-1"
    storage_access_key: str = ""
    storage_secret_key: str = ""
    storage_timeout: float = Field(30, gt=0, le=600)
    storage_max_file_bytes: int = Field(64 * 1024 * MIB, ge=MIB)
    # [images]
    images_url: str = Field("", pattern=r"^(/.*|file:///.*|s3://[A-Za-z0-9._-]+(/.*)?)?$", max_length=2000)
    images_models: str = Field("", max_length=1000)
    images_max_file_bytes: int = Field(32 * MIB, ge=1024, le=1024 * MIB)
    images_max_pixels: int = Field(50_000_000, ge=1, le=500_000_000)
    images_export_chunk_records: int = Field(500, ge=1, le=2000)
    images_max_compared: int = Field(1_000_000, ge=2, le=100_000_000)
    # [search]
    search_seal_rows: int = Field(20_000, ge=0)
    search_maintenance_memory_mb: int = Field(0, ge=0)
    search_recall_samples: int = Field(256, ge=0, le=1000)
    search_recall_seconds: float = Field(60, gt=0)
    search_build_workers: int = Field(1, ge=0, le=16)
    # [sources]
    sources_lease: float = Field(15, ge=1)
    sources_heartbeat: float = Field(3, gt=0)
    sources_poll: float = Field(1, gt=0, le=60)
    sources_most: int = Field(50, ge=1, le=1000)
    sources_retry_base: float = Field(1, gt=0)
    sources_retry_max: float = Field(60, gt=0)
    # [flower]
    flower_host: str = "127.0.0.1"
    flower_port: int = Field(5555, ge=0, le=65535)
    flower_user: str = "gristmill"
    flower_password: str = ""
    # [stack]
    stack_data: str = ".gristmill"
    stack_broker: Literal["auto", "rabbitmq", "valkey"] = "auto"
    stack_postgres_port: int = Field(0, ge=0, le=65535)
    stack_broker_port: int = Field(0, ge=0, le=65535)
    # [log]
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, dotenv_settings, _IniSource(settings_cls)


def load_settings(**flags: Any) -> Settings:
    """Return the settings; ``flags`` (those not None) win over everything else. Raises Invalid naming each bad key."""
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        violations = [
            Violation(
                pointer="/" + "/".join(str(part) for part in item["loc"]),
                code=item["type"],
                reason=f"{item['msg']} (got {item.get('input')!r})",
                field=str(item["loc"][0]) if item["loc"] else None,
            )
            for item in error.errors()
        ]
        listed = "; ".join(f"{violation.field}: {violation.reason}" for violation in violations)
        raise Invalid(f"The configuration is not valid: {listed}", violations) from error
