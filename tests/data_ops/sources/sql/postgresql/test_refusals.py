"""Is what a database or its table refuses told in one sentence that says what to do, and never with a password?"""

import pytest

from data_ops.sources.sql import connections
from data_ops.sources.sql.table import MistakeError
from tests.support.sql.postgres import Postgres
from tests.support.sql.reading import MADE, all_of, do, look, rows_of, source_of

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"table": "dosc"}, "no such table that we may see; did you mean docs?"),
        ({"text": "boddy"}, "docs has no column 'boddy' for text; it has id, body, at, x; did you mean body?"),
        ({"text": "at"}, "text=at is of type timestamp with time zone, which is no text"),
        ({"cursor": "at", "lag": 5}, 'cursor=at may be null, and such a row would never be read; ALTER TABLE "docs"'),
        ({"lag": 5}, "lag=5 is of no use where the cursor x is of type xid8"),
        ({"user": "nobody"}, 'role "nobody" does not exist'),
        ({"user": "locked"}, "the login is refused; put the password into the environment as PGPASSWORD"),
        ({"database": "nowhere"}, 'database "nowhere" does not exist'),
        ({"port": "1"}, "no database answers at 127.0.0.1:1/postgres"),
    ],
)
def test_what_cannot_be_read_is_one_sentence_that_says_what_to_do(
    server: Postgres, url: str, keys: dict, sentence: str
):
    do(server, url, MADE)
    database = keys.pop("database", None) or (url.rpartition("/")[2] if "port" not in keys else "postgres")
    at = f"postgresql://{keys.pop('user', 'postgres')}@127.0.0.1:{keys.pop('port', server.port)}/{database}"
    told = source_of(at, **keys).missing() or ""
    assert sentence in told and told.startswith("sources.live") and "\n" not in told


def test_a_password_comes_from_the_environment_or_from_a_file(server: Postgres, url: str, monkeypatch, tmp_path):
    do(server, url, MADE, "grant select on docs to locked", "insert into docs (body) values ('a')")
    at = url.replace("postgres@", "locked@")
    monkeypatch.setenv("PGPASSWORD", "wrong")
    assert 'password authentication failed for user "locked"' in (source_of(at).missing() or "")
    monkeypatch.setenv("PGPASSWORD", "right")
    assert source_of(at).missing() is None and len(all_of(source_of(at))[0]) == 1
    monkeypatch.delenv("PGPASSWORD")
    connections._OPEN.clear()
    (tmp_path / "pass").write_text("*:*:*:locked:right\n")
    (tmp_path / "pass").chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "pass"))
    assert source_of(at).missing() is None
    connections._OPEN.clear()
    database = url.rpartition("/")[2]
    (tmp_path / "service").write_text(f"[news]\nhost=127.0.0.1\nport={server.port}\nuser=locked\ndbname={database}\n")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "service"))
    assert source_of("postgresql:///?service=news").missing() is None


def test_a_table_that_we_may_not_read_is_told_with_the_mend(server: Postgres, url: str):
    do(server, url, MADE)
    with pytest.raises(OSError, match=r"permission denied for table docs; give the user the right to read it \(GRANT"):
        source_of(url.replace("postgres@", "poor@")).discover({}, 1)


def test_columns_that_change_under_us_stop_in_a_sentence_instead_of_quarantine(server: Postgres, url: str):
    do(server, url, MADE, "insert into docs (body) values ('a')")
    source = source_of(url)
    spans = look(source).spans
    do(server, url, "alter table docs rename column body to content")
    for act in (lambda: source.discover({}, 9), lambda: rows_of(source, spans)):
        with pytest.raises(MistakeError, match=r"^sources.live: docs has no column 'body' for text"):
            act()


def test_a_column_that_new_rows_do_not_fill_with_their_transaction_is_refused(server: Postgres, url: str):
    do(server, url, MADE, "alter table docs alter column x drop default")
    told = source_of(url).missing() or ""
    assert "cursor=x is of type xid8, and a new row has nothing in it instead of its transaction; ALTER TABLE" in told
    do(server, url, "alter table docs alter column x set default '3'")
    assert "a new row has '3'::xid8 in it" in (source_of(url).missing() or "")
    function = """create function stamp() returns trigger language plpgsql as
    'begin new.x = pg_current_xact_id(); return new; end'"""
    do(server, url, function, "create trigger stamp before insert on docs for each row execute function stamp()")
    assert source_of(url).missing() is None
