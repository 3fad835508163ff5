"""The table of schedules: what a user asked for, when it is due next, and what became of it."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP, UUID

from gristmill.core.database import metadata
from gristmill.schedules.states import Overlap, ScheduleState

_MOMENT = TIMESTAMP(timezone=True)


def _one_of(column: str, values: type[ScheduleState] | type[Overlap]) -> sa.CheckConstraint:
    return sa.CheckConstraint(f"{column} IN ({', '.join(repr(str(one)) for one in values)})", name=column)


schedules = sa.Table(
    "schedules",
    metadata,
    sa.Column("id", UUID(as_uuid=True), primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("type", sa.Text, nullable=False, comment="of its jobs"),
    sa.Column("args", JSONB, nullable=False),
    sa.Column("max_attempts", sa.SmallInteger),
    sa.Column("labels", JSONB, nullable=False, server_default="{}"),
    sa.Column("priority", sa.SmallInteger, nullable=False, server_default="5"),
    sa.Column("cron", sa.Text),
    sa.Column("every", sa.Text),
    sa.Column("zone", sa.Text, nullable=False),
    sa.Column("start", _MOMENT, nullable=False, comment="from which intervals are counted"),
    sa.Column("overlap", sa.Text, _one_of("overlap", Overlap), nullable=False),
    sa.Column("state", sa.Text, _one_of("state", ScheduleState), nullable=False),
    sa.Column("error", JSONB(none_as_null=True), comment="why it was paused, or what it waits for: a problem object"),
    sa.Column("next_run_at", _MOMENT, comment="null while it is paused"),
    sa.Column("last_run_at", _MOMENT, comment="the time for which a job was submitted last"),
    sa.Column("last_job", UUID(as_uuid=True)),
    sa.Column("runs", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("skipped", sa.BigInteger, nullable=False, server_default="0", comment="left out: the job before ran"),
    sa.Column("created_by", sa.Text, nullable=False, comment="the principal that its jobs are submitted by"),
    sa.Column("owned_since", _MOMENT, nullable=False, comment="a later key of the same name is another one"),
    sa.Column("created_key", sa.Text, comment="Idempotency-Key and digest of the request that created it"),
    sa.Column("created_at", _MOMENT, nullable=False, server_default=sa.text("now()")),
    sa.CheckConstraint("(cron IS NULL) <> (every IS NULL)", name="timing"),
    sa.CheckConstraint("(state = 'running') = (next_run_at IS NOT NULL)", name="next_run"),
    postgresql_with={"fillfactor": 70, "autovacuum_vacuum_scale_factor": 0.0, "autovacuum_vacuum_threshold": 1000},
)
sa.Index("uq_schedules_name", schedules.c.name, unique=True)
sa.Index("ix_schedules_next_run_at", schedules.c.next_run_at, postgresql_where=schedules.c.next_run_at.is_not(None))
