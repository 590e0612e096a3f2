"""The tables of the store. Live records and history share them: an ended lease is a row whose state is ``ended``.

Columns are plain text, integers and doubles, so that a row means the same in SQLite and in PostgreSQL: an enum is its
value, a tuple is JSON, a cluster key is its canonical JSON. All times are seconds since the epoch.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, Index, Integer, MetaData, Table, Text, UniqueConstraint

SCHEMA = "0006"
"""The newest Alembic revision: the schema that this version of the code reads and writes."""

USABLE_FROM = "0002"
"""The oldest schema whose code can use a database of schema `SCHEMA`, so that an upgrade can be taken back.

It rises only with a revision that the code before it could not live with. All others add: tables, indexes, and columns
that are null or have a default of the server's, since older code does not name them. What older code reads keeps its
meaning, and no state, mode or outcome is added (reasons may be).
"""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _text(name: str, *, null: bool = False) -> Column[str]:
    return Column(name, Text, nullable=null)


def _int(name: str, *, null: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=null)


def _seconds(name: str, *, null: bool = False) -> Column[float]:
    return Column(name, Double, nullable=null)


def _flag(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False)


meta = Table(
    "meta",
    metadata,
    # One row, so that fencing is one row lock.
    Column("id", Integer, primary_key=True, autoincrement=False),
    _text("store_id"),
    _int("generation"),
    _text("opened_by"),
    _seconds("opened_at"),
    # `USABLE_FROM` of the newest code that was here, and what tells the key of the tokens from others.
    Column("usable_from", Text, nullable=False, server_default=""),
    Column("key_id", Text, nullable=False, server_default=""),
)

pools = Table(
    "pools",
    metadata,
    Column("digest", Text, primary_key=True),
    _text("key"),
    _text("name"),
    _int("next_seq"),
    _int("failures"),
    _seconds("retry_at"),
    _seconds("breaker_until"),
    _text("last_error"),
    _flag("cordoned"),
    _int("min_idle", null=True),
    _int("max_clusters", null=True),
    _seconds("created_at"),
)

clusters = Table(
    "clusters",
    metadata,
    Column("id", Text, primary_key=True),
    _text("pool"),
    _text("tenant"),
    _int("seq"),
    _int("footprint_clusters"),
    _int("milli_cpu"),
    _int("memory_bytes"),
    _int("gpu"),
    _text("state"),
    _text("cause"),
    _seconds("created_at"),
    _seconds("changed_at"),
    _int("epoch"),
    _text("leases"),
    _int("uses"),
    _seconds("ready_at", null=True),
    _text("boot_id"),
    _text("address"),
    _text("client_address"),
    _text("dashboard_url"),
    _text("ray_version"),
    _text("group"),
    _seconds("hold_until"),
    _flag("cordoned"),
    _text("doom", null=True),
    _text("reason", null=True),
    _text("detail"),
    _seconds("retires_at"),
    _seconds("idle_since"),
    _int("resizes"),
    _seconds("grow_s", null=True),
    Column("evidence", Text, nullable=False, server_default=""),
    # In which state it was, and until when its seconds are in the ledger.
    Column("booked_state", Text, nullable=False, server_default=""),
    Column("booked_at", Double, nullable=False, server_default="0"),
    # Serves what lives (a few states) and what to prune (stopped, by age).
    Index(None, "state", "changed_at"),
    # Never updated, so it costs a write only when a cluster is new. Serves history and the latest starts.
    Index(None, "created_at", "id"),
)

leases = Table(
    "leases",
    metadata,
    Column("id", Text, primary_key=True),
    _text("cluster"),
    _text("pool"),
    _text("tenant"),
    _text("caller"),
    _text("request_id"),
    _text("holder"),
    _text("group"),
    _int("priority"),
    _text("mode"),
    _int("epoch"),
    _text("state"),
    _text("outcome"),
    _text("miss", null=True),
    _seconds("asked_at"),
    _seconds("granted_at"),
    _seconds("ttl_s"),
    _seconds("expires_at"),
    _seconds("max_until"),
    _seconds("hold_s"),
    _seconds("ended_at", null=True),
    _text("end_reason", null=True),
    _text("end_detail"),
    _int("renewed_in"),
    # A request id never grants again for as long as history keeps its lease.
    UniqueConstraint("caller", "request_id"),
    Index(None, "state", "ended_at"),
    Index(None, "asked_at", "id"),
)

waiters = Table(
    "waiters",
    metadata,
    Column("id", Text, primary_key=True),
    _text("pool"),
    _text("tenant"),
    _text("caller"),
    _text("request_id"),
    _text("holder"),
    _text("group"),
    _int("priority"),
    _text("mode"),
    _seconds("asked_at"),
    _seconds("rank"),
    _seconds("deadline"),
    _seconds("seen_until"),
    _seconds("ttl_s"),
    _seconds("hold_s"),
    _text("miss"),
    _seconds("local_until"),
)

ledger = Table(
    "ledger",
    metadata,
    # Days since the epoch (UTC). First in the key: entries are read and deleted by the day.
    Column("day", BigInteger, primary_key=True, autoincrement=False),
    Column("pool", Text, primary_key=True),
    Column("tenant", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("what", Text, primary_key=True),
    Column("reason", Text, primary_key=True),
    _int("count"),
    _seconds("seconds"),
)

learned = Table("learned", metadata, Column("name", Text, primary_key=True), _text("told"))
