"""How is PostgreSQL asked so that no row is passed by and none comes twice?

A row says which transaction wrote it (xid8), and a statement knows the oldest transaction that was open when it began,
the horizon: below it everything is decided, so the rows there, in the order of transaction and key, never change but by
being deleted or written anew. The horizon is taken before the rows, never behind them (durable.py says which one).
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import adbc_driver_postgresql.dbapi as adbc
import msgspec
import pyarrow as pa

from data_ops.sources.sql.database import COUNTED, DatabaseStanding, KeyStretch
from data_ops.sources.sql.postgresql.durable import DurableHorizon, HorizonSighting
from data_ops.sources.sql.postgresql.records import record_batches
from data_ops.sources.sql.postgresql.refusals import told_refusal
from data_ops.sources.sql.reached import Mark, Page, TableOrigin
from data_ops.sources.sql.statements import COUNT, Where, behind, between_keys, ordered_by, pages, pages_of
from data_ops.sources.sql.table import ColumnKind, SqlTable, TableColumn, TableView, quote

#: How values are written, so that a key means the same to every connection; and nothing is ever written.
SESSION = """select set_config('datestyle', 'ISO', false), set_config('timezone', 'UTC', false),
set_config('extra_float_digits', '3', false), set_config('default_transaction_read_only', 'on', false)"""
#: A server that took over is on its new timeline at once; its control file says so only after a checkpoint.
ORIGIN = """select (pg_control_system()).system_identifier::text,
case when pg_is_in_recovery() then (pg_control_checkpoint()).timeline_id::bigint
  else ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint end"""
HORIZON = "pg_snapshot_xmin(pg_current_snapshot())"
#: Where the log ends, and up to where it is on disk; a standby replays only what is. Functions of the moment, not of
#: the snapshot: they run after it was taken.
LOG = """case when pg_is_in_recovery() then 0 else pg_current_wal_insert_lsn() - '0/0' end::text,
case when pg_is_in_recovery() then 0 else pg_current_wal_flush_lsn() - '0/0' end::text,
(select 3 * setting::float8 / 1000 from pg_settings where name = 'wal_writer_delay')"""
TABLE = """
select concat((select oid from pg_database where datname = current_database()), '/', c.oid),
(select json_agg(json_build_object('name', a.attname, 'type', format_type(a.atttypid, a.atttypmod),
  'base', y.typname, 'category', y.typcategory, 'is_nullable', not a.attnotnull,
  'default', coalesce(pg_get_expr(d.adbin, d.adrelid), '')) order by a.attnum)
 from pg_attribute a join pg_type y on y.oid = a.atttypid
 left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
 where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped)::text,
(select coalesce(json_agg(json_build_object('is_primary', i.indisprimary, 'columns',
  (select coalesce(json_agg(a.attname order by k.n), '[]') from unnest(i.indkey::int2[]) with ordinality k(number, n)
   join pg_attribute a on a.attrelid = c.oid and a.attnum = k.number where k.n <= i.indnkeyatts))), '[]')
 from pg_index i where i.indrelid = c.oid and i.indisvalid and i.indpred is null)::text,
exists (select 1 from pg_trigger g where g.tgrelid = c.oid and g.tgtype & 7 = 7 and g.tgenabled in ('O', 'A'))
from pg_class c where c.oid = to_regclass($1::text)"""
TABLES = """
select case when n.nspname = 'public' then c.relname::text else n.nspname || '.' || c.relname end
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and n.nspname not in ('pg_catalog', 'information_schema') order by 1 limit 1000"""
MOMENTS = ("timestamptz", "timestamp", "date")


class _Attribute(msgspec.Struct):
    name: str
    type: str
    base: str
    category: str
    is_nullable: bool
    default: str

    @property
    def kind(self) -> ColumnKind:
        if self.base == "xid8":
            return ColumnKind.TRANSACTION
        if self.base in MOMENTS:
            return ColumnKind.MOMENT
        return {"S": ColumnKind.TEXT, "N": ColumnKind.NUMBER}.get(self.category, ColumnKind.OTHER)


class _Index(msgspec.Struct):
    is_primary: bool
    columns: tuple[str, ...]


class PostgresDatabase:
    """The connection of this process to one database of PostgreSQL."""

    def __init__(self, url: str) -> None:
        self.url = url
        separator = "&" if "?" in url else "?"
        patience = "".join(f"&{k}" for k in ("connect_timeout=10", "tcp_user_timeout=60000") if k[:7] not in url)
        self._address = url + separator + patience[1:] if patience else url
        self._open: adbc.Connection | None = None
        self._system, self._timeline = "", 0
        self._durable = DurableHorizon()

    def table(self, parts: tuple[str, ...]) -> SqlTable | None:
        """Describe a table; None where there is none."""
        found = self._ask(TABLE, ".".join(map(quote, parts)))
        if not found:
            return None
        ((made, attributes, indexes, has_trigger),) = found
        columns = {
            each.name: TableColumn(each.type, each.kind, each.is_nullable, each.default)
            for each in msgspec.json.decode(attributes, type=list[_Attribute])
        }
        decoded = msgspec.json.decode(indexes, type=list[_Index])
        key = next((index.columns for index in decoded if index.is_primary), ())
        of_indexes = tuple(index.columns for index in decoded)
        return SqlTable(parts, made, columns, key, of_indexes, has_insert_trigger=has_trigger)

    def tables(self) -> list[str]:
        """Name the tables that there are."""
        return [name for (name,) in self._ask(TABLES)]

    def standing(self, reading: TableView) -> DatabaseStanding:
        """Tell where the database stands."""
        table, order = reading.table, reading.order
        cursor, last = f"t.{quote(order.columns[0])}", "null"
        if order.is_exact:
            newest = "null"
            holds_back, ahead = (
                f"exists (select 1 from {table.quoted} t where {cursor} >= pg_snapshot_{bound}(s))"
                for bound in ("xmin", "xmax")
            )
            last = "case when pg_is_in_recovery() then null else pg_snapshot_xmax(s)::text::numeric - 1 end"
        else:
            typed = table.columns[order.columns[0]].type
            past = f"where {cursor} <= now()" if typed.startswith("timestamp") and "with time" in typed else ""
            newest = f"(select max({cursor})::text from {table.quoted} t {past})"
            holds_back = ahead = "false"
            last = self._last_number(reading) or last
        ((xmin, following, number, highest, holds, is_ahead, log_end, flushed, patience_s),) = self._ask(
            f"select pg_snapshot_xmin(s)::text, pg_snapshot_xmax(s)::text, ({last})::text, {newest}, {holds_back}, "
            f"{ahead}, {LOG} from pg_current_snapshot() s"
        )
        horizon = int(xmin)
        sighting = HorizonSighting(time.monotonic(), horizon, int(log_end))
        durable = self._durable.take(sighting, int(flushed), patience_s)
        return DatabaseStanding(
            TableOrigin(self._system, self._timeline, table.made),
            last_number=number and int(number),
            newest=highest,
            horizon=horizon,
            next_transaction=int(following),
            first_undecided=str(durable) if order.is_exact else None,
            holds_back=holds or (order.is_exact and durable < horizon),
            is_ahead=is_ahead,
        )

    def _last_number(self, reading: TableView) -> str:
        """Write what gives the last number of the sequence behind a column; "" where there is none that we may see."""
        names = reading.table.quoted, reading.order.columns[0]
        ((sequence,),) = self._ask("select pg_get_serial_sequence($1::text, $2::text)", *names)
        if sequence is None:
            return ""
        ((is_allowed,),) = self._ask("select has_sequence_privilege($1::text, 'select, usage')", sequence)
        literal = "'" + sequence.replace("'", "''") + "'"
        return f"pg_sequence_last_value({literal}::text::regclass)" if is_allowed else ""

    def pages(self, reading: TableView, stretch: KeyStretch, most: int) -> list[Page]:
        """List at most `most` final rows in order, cut into pages."""
        where = self._final(reading, stretch)
        size = f"coalesce(octet_length(t.{quote(reading.fields.text)}), 0)"
        return pages_of(self._ask(pages(reading, size, where, most), *where.values))

    def num_behind(self, reading: TableView, stretch: KeyStretch) -> int:
        """Count the final rows of a stretch, up to COUNTED."""
        where = self._final(reading, stretch)
        statement = COUNT.format(table=reading.table.quoted, where=where.condition, most=COUNTED)
        ((count,),) = self._ask(statement, *where.values)
        return int(count)

    def _final(self, reading: TableView, stretch: KeyStretch) -> Where:
        """Ask for the rows of a stretch that no open transaction can add to."""
        cursor = reading.order.columns[0]
        if reading.order.is_exact:
            undecided = HORIZON if stretch.bound is None else f"'{int(stretch.bound)}'::xid8"
            return behind(reading, stretch.after, [f"t.{quote(cursor)} < {undecided}"], _parameter)
        where = behind(reading, stretch.after, [], _parameter)
        if stretch.bound is None:
            return Where("false", ())
        bound = _parameter(len(where.values) + 1, reading.table.columns[cursor].type)
        return Where(f"{where.condition} and t.{quote(cursor)} <= {bound}", (*where.values, stretch.bound))

    def records(self, reading: TableView, mark: Mark, longest: int) -> Iterator[pa.RecordBatch]:
        """Read the rows of a page that are still there, in order, and one more than was planned if there is one."""
        table, order, fields = reading
        where = between_keys(reading, mark.after, mark.last, _parameter)
        text, size = f"t.{quote(fields.text)}", f"octet_length(t.{quote(fields.text)})"
        name = f"concat_ws(',', {', '.join(f't.{quote(each)}' for each in fields.id)})"
        time, is_typed = _time(table, fields.time)
        statement = (
            f"select case when {size} <= {longest} then {text}::text else left({text}::text, 200) end as text, "
            f"{size}::bigint as size, {time}, "
            f"{name if len(fields.id) > 1 else f't.{quote(fields.id[0])}::text'} as id "
            f"from {table.quoted} t where {where.condition} order by {ordered_by(order)} limit {mark.num_records + 1}"
        )
        yield from record_batches(self._table(statement, where.values), longest, is_typed=is_typed)

    def _ask(self, statement: str, *values: str) -> list[tuple[Any, ...]]:
        table = self._table(statement, values)
        return list(zip(*(column.to_pylist() for column in table.columns), strict=True))

    def _table(self, statement: str, values: Sequence[str]) -> pa.Table:
        """Run a statement. OSError, in a sentence, where it is refused or nobody answers."""
        try:
            with self._connection().cursor() as cursor:
                cursor.execute(statement, parameters=tuple(values) or None)
                return cursor.fetch_arrow_table()
        except adbc.Error as error:
            self._close()
            raise told_refusal(error, self.url) from error

    def _connection(self) -> adbc.Connection:
        if self._open is None:
            self._open = adbc.connect(self._address, autocommit=True)
            self._durable = DurableHorizon()  # the server may have crashed since the last one
            with self._open.cursor() as cursor:
                cursor.execute(SESSION)
                cursor.fetchall()
            try:
                with self._open.cursor() as cursor:
                    cursor.execute(ORIGIN)
                    self._system, self._timeline = cursor.fetchone()
            except adbc.ProgrammingError:  # not every relative of PostgreSQL tells
                self._system, self._timeline = "", 0
        return self._open

    def _close(self) -> None:
        opened, self._open = self._open, None
        if opened is not None:
            try:
                opened.close()
            except (adbc.Error, RuntimeError):  # it is broken already
                return


def _parameter(number: int, column_type: str) -> str:
    return f"${number}::text::{column_type}"


def _time(table: SqlTable, name: str | None) -> tuple[str, bool]:
    """Write what gives a row's time, and whether it comes as a moment, null beyond the years we hold, or as text."""
    if name is None:
        return "null::timestamptz as time, false as unclear", True
    column, moment = f"t.{quote(name)}", table.columns[name]
    if moment.kind is not ColumnKind.MOMENT:
        return f"{column}::text as time, false as unclear", False
    zoned = column if "with time zone" in moment.type else f"{column}::timestamp at time zone 'UTC'"
    within = f"{column} between '0001-01-01' and '9999-12-31'"
    return f"case when {within} then {zoned} end as time, coalesce(not {within}, false) as unclear", True
