"""Are tables as Spark and Databricks write them read, which the deltalake package cannot write itself?"""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data_ops.sources.delta.writing import DeltaReader, append, rows, source_of, texts

#: A deletion vector as Databricks wrote it (delta-rs, crates/test/tests/data/table-with-dv-small): rows 0 and 9.
VECTOR = bytes.fromhex(
    "01 00000024 d1d33964 0100000000000000 00000000 3a300000 01000000 00000100 10000000 00000900 2a671846"
)
VECTOR_NAME, VECTOR_FILE = "vBn[lx{q8@P<9BNH/isA", "deletion_vector_61d16c75-6994-46b7-a15b-8b538852e50e.bin"


def commit(path: Path, *actions: dict) -> None:
    """Write the next version of a table by hand."""
    log = path / "_delta_log"
    log.mkdir(parents=True, exist_ok=True)
    version = len(list(log.glob("*.json")))
    (log / f"{version:020}.json").write_text("\n".join(map(json.dumps, actions)))


def add(name: str, num_records: int, **keys: object) -> dict:
    """The action that adds a file."""
    stats = json.dumps({"numRecords": num_records})
    common = {"path": name, "partitionValues": {}, "size": 1, "modificationTime": 1_700_000_000_000}
    return {"add": {**common, "dataChange": True, "stats": stats, **keys}}


def metadata(columns: dict[str, dict], **keys: object) -> dict:
    """The action that makes a table of columns of text and numbers."""
    fields = [
        {"name": name, "type": "string", "nullable": True, "metadata": {}, **keys} for name, keys in columns.items()
    ]
    schema = json.dumps({"type": "struct", "fields": fields})
    given = {"format": {"provider": "parquet", "options": {}}, "partitionColumns": [], "configuration": {}}
    return {"metaData": {"id": "made-by-hand", "schemaString": schema, **given, **keys}}


def protocol(*features: str) -> dict:
    """The action that says what a reader has to know."""
    both = {"readerFeatures": list(features), "writerFeatures": list(features)}
    return {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, **both}}


@pytest.fixture
def masked(tmp_path: Path) -> Path:
    """A table of one file with ten rows."""
    path = tmp_path / "masked"
    commit(path, protocol("deletionVectors"), metadata({"id": {"type": "long"}, "text": {}}), add("part-0.parquet", 10))
    pq.write_table(rows(0, 10), path / "part-0.parquet")
    return path


def delete_two(path: Path) -> None:
    """Delete the rows 0 and 9, as Databricks does: the file stays, and a vector of deleted rows lies beside it."""
    (path / VECTOR_FILE).write_bytes(VECTOR)
    vector = {"storageType": "u", "pathOrInlineDv": VECTOR_NAME, "offset": 1, "sizeInBytes": 36, "cardinality": 2}
    before = add("part-0.parquet", 10)["add"]
    commit(
        path,
        {"commitInfo": {"operation": "UPDATE"}},
        {"remove": {"path": "part-0.parquet", "dataChange": True, "deletionTimestamp": 1, "size": before["size"]}},
        add("part-0.parquet", 10, deletionVector=vector),
    )


def test_rows_that_were_deleted_one_by_one_are_places_without_a_document(masked: Path):
    delete_two(masked)
    reader = DeltaReader(masked)
    assert reader.poll(3) == texts(1, 9)
    gone = [row for row in reader.rows if row["error"]]
    assert [(row["offset"], row["error"], row["text"], row["external_id"]) for row in gone] == [
        (0, "no_record", "", None),
        (9, "no_record", "", None),
    ]


def test_a_version_that_only_deletes_rows_one_by_one_brings_none_and_one_that_restores_them_does(masked: Path):
    reader = DeltaReader(masked)
    assert reader.poll() == texts(0, 10)
    delete_two(masked)
    assert reader.poll() == [] and len(reader.rows) == 10 and len(reader.told) == 1
    reader = DeltaReader(masked)  # knows the table with its deleted rows only
    reader.poll()
    vector = {"storageType": "u", "pathOrInlineDv": VECTOR_NAME, "offset": 1, "sizeInBytes": 36, "cardinality": 2}
    removed = {"path": "part-0.parquet", "dataChange": True, "deletionTimestamp": 1, "deletionVector": vector}
    commit(masked, {"commitInfo": {"operation": "RESTORE"}}, {"remove": removed}, add("part-0.parquet", 10))
    assert reader.poll() == texts(0, 10)


def test_columns_that_were_renamed_are_found_under_their_names_in_the_files(tmp_path: Path):
    path = tmp_path / "mapped"
    columns = {
        "document id": {"metadata": {"delta.columnMapping.id": 1, "delta.columnMapping.physicalName": "col-a"}},
        "body": {"metadata": {"delta.columnMapping.id": 2, "delta.columnMapping.physicalName": "col-b"}},
        "day": {"metadata": {"delta.columnMapping.id": 3, "delta.columnMapping.physicalName": "col-c"}},
    }
    mapped = {"delta.columnMapping.mode": "name"}
    commit(
        path,
        protocol("columnMapping"),
        metadata(columns, configuration=mapped, partitionColumns=["day"]),
        add("part-0.parquet", 2, partitionValues={"col-c": "2026-11-01"}),
    )
    for number in range(2):
        table = pa.table({"col-a": [f"a{number}", f"b{number}"], "col-b": texts(2 * number, 2 * number + 2)})
        pq.write_table(table, path / f"part-{number}.parquet")
    reader = DeltaReader(path, text="body", id="document id", time="day")
    assert reader.poll() == texts(0, 2)  # as the library lists it
    commit(path, add("part-1.parquet", 2, partitionValues={"col-c": "2026-11-02"}))
    assert reader.poll() == texts(2, 4)  # as its log does
    assert [(row["external_id"], row["event_time"].day) for row in reader.rows] == [
        ("a0", 1),
        ("b0", 1),
        ("a1", 2),
        ("b1", 2),
    ]


@pytest.mark.parametrize(
    ("actions", "sentence"),
    [
        ([protocol("columnMapping"), {"delta.columnMapping.mode": "id"}], "columnMapping by id, which is not read"),
        ([add("s3://other/part-0.parquet", 1)], "is a file of another table, as a shallow clone has them"),
        ([add("../part-0.parquet", 1)], "leads out of the table"),
        ([add("%2e%2e/part-0.parquet", 1)], "leads out of the table"),
        ([{"add": 7}], "a line of a commit makes no sense"),
    ],
)
def test_what_is_not_read_is_refused_in_a_sentence(tmp_path: Path, actions: list, sentence: str):
    append(tmp_path / "t", rows(0, 2))
    source = source_of(tmp_path / "t")
    found = source.discover({}, 10)
    if sentence.startswith("columnMapping"):
        named = {"metadata": {"delta.columnMapping.id": 1, "delta.columnMapping.physicalName": "text"}}
        actions = [actions[0], metadata({"text": named}, configuration=actions[1])]
    commit(tmp_path / "t", *actions)
    with pytest.raises(OSError, match=sentence):
        source.discover(found.cursor, 10)
