"""From which site is a record?

The host of its external id where that is a URL (without user, port and a leading `www.`), else the folder of the file
or the log that it was read from. A site is a group that people recognise; it decides nothing.
"""

import pyarrow as pa
import pyarrow.compute as pc

#: A URL with a host of at most 253 characters (RFC 1035); re2, so linear in the length of what a stranger wrote.
HOST = (
    r"^[A-Za-z][A-Za-z0-9+.\-]{0,31}://(?:[^/?#@\s]*@)?"
    r"(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[^/?#:@\s\[\]\\<>\"\x00-\x20\x7f]{1,253})(?:[:/?#]|$)"
)
FOLDER = r"^(?P<folder>(?s:.+?))/+[^/]*$"


def sites_of(external_ids: pa.Array, partitions: pa.Array) -> pa.Array:
    """Name the site of each record, string[n]; external_ids may be null, partitions not.

    >>> ids = pa.array(["https://me:pw@www.Example.com:8443/a?b=c", "4711"])
    >>> sites_of(ids, pa.array(["in/a.jsonl", "in/b.jsonl"])).to_pylist()
    ['example.com', 'in']
    """
    hosts = pc.struct_field(pc.extract_regex(external_ids, HOST), "host")
    hosts = pc.replace_substring_regex(pc.utf8_rtrim(pc.utf8_lower(hosts), "."), r"^www\.(.)", r"\1")
    hosts = pc.if_else(pc.equal(hosts, ""), None, hosts)
    names = partitions.dictionary_encode()
    folders = pc.coalesce(pc.struct_field(pc.extract_regex(names.dictionary, FOLDER), "folder"), names.dictionary)
    return pc.coalesce(hosts, folders.take(names.indices))
