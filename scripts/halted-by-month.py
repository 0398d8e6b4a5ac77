#!/usr/bin/env python3
"""Which companies halted, by month: the same answer from DuckDB and from Polars.

usage: halted-by-month.py OUT.documents.parquet OUT.companies.parquet

Needs duckdb, polars and pyarrow from PyPI. Prints a row for every month and company: in how many documents the company
has halted, and what the first of them says. Copies of a document (`duplicate_of`), uncertain companies and documents
without a date are left out. Exits with 1 if the tables' columns are not as documented or the two answers differ, with 2
if called otherwise.
"""
import sys

if len(sys.argv) != 3:
    print(__doc__, file=sys.stderr)
    sys.exit(2)

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

documents, companies = sys.argv[1:]

def needed(name, type):
    return pa.field(name, type, nullable=False)

def strings(name):
    return needed(name, pa.list_(needed("element", pa.string())))

def spans(name, *more):
    span = [needed("start", pa.int64()), needed("end", pa.int64()), needed("text", pa.string()), *more]
    return needed(name, pa.list_(needed("element", pa.struct(span))))

NUMBER, TEXT, SHARE = pa.int64(), pa.string(), pa.float64()
DOCUMENTS = pa.schema([
    needed("document", NUMBER), needed("id", TEXT), needed("source", TEXT), needed("status", TEXT),
    ("error_kind", TEXT), ("error_message", TEXT), strings("warnings"), ("title", TEXT), ("date", pa.date32()),
    ("published", TEXT), ("url", TEXT), ("language", TEXT), needed("chars", NUMBER), ("text", TEXT),
    ("duplicate_of", TEXT), needed("meta", TEXT), needed("companies", pa.int32()), needed("model", TEXT)])
COMPANIES = pa.schema([
    needed("document", NUMBER), needed("id", TEXT), needed("source", TEXT), ("date", pa.date32()), ("duplicate_of", TEXT),
    needed("key", TEXT), needed("name", TEXT), strings("aliases"), needed("stance", TEXT), needed("confidence", SHARE),
    needed("uncertain", pa.bool_()), needed("halted", SHARE), needed("suspended", SHARE), needed("continuing", SHARE),
    needed("silent", SHARE), strings("markets"), spans("mentions"),
    spans("evidence", needed("stance", TEXT), needed("confidence", SHARE))])
for path, schema in ((documents, DOCUMENTS), (companies, COMPANIES)):
    found = pq.read_schema(path)
    if not found.equals(schema):
        sys.exit(f"{path}: the columns are not as documented\n{found.to_string(show_schema_metadata=False)}")
    if not {b"stancewire.schema", b"stancewire.model"} <= set(found.metadata or {}):
        sys.exit(f"{path}: the metadata lacks stancewire.schema or stancewire.model")

# One row for every month and company: key, a name, how many documents, then of each document, in order of the run, its
# title and its sentences.
by_sql = duckdb.execute("""
    SELECT strftime(c.date, '%Y-%m') AS month, c.key, arg_min(c.name, c.document) AS name, count(*) AS documents,
           list(coalesce(d.title, d.id) ORDER BY c.document) AS titles,
           list([e.text for e in c.evidence] ORDER BY c.document) AS evidence
    FROM read_parquet($companies) AS c JOIN read_parquet($documents) AS d USING (document)
    WHERE c.stance = 'halted' AND NOT c.uncertain AND c.duplicate_of IS NULL AND c.date IS NOT NULL
    GROUP BY month, c.key ORDER BY month, c.key
""", {"documents": documents, "companies": companies}).fetchall()

by_polars = (
    pl.scan_parquet(companies)
    .filter(pl.col("stance") == "halted", ~pl.col("uncertain"), pl.col("duplicate_of").is_null(),
            pl.col("date").is_not_null())
    .join(pl.scan_parquet(documents).select("document", "title", document_id="id"), on="document")
    .sort("document")
    .group_by(pl.col("date").dt.strftime("%Y-%m").alias("month"), "key", maintain_order=True)
    .agg(pl.col("name").first(), pl.len().alias("documents"),
         pl.coalesce("title", "document_id").alias("titles"),
         pl.col("evidence").list.eval(pl.element().struct.field("text")))
    .sort("month", "key")
    .collect().rows())

if by_sql != by_polars:
    first = next((pair for pair in zip(by_sql, by_polars) if pair[0] != pair[1]), "one ends before the other")
    sys.exit(f"DuckDB finds {len(by_sql)} rows, Polars {len(by_polars)}; they differ, first in\n{first}")

def short(text, width):
    text = " ".join(text.split())
    return text if len(text) <= width else text[:width - 1] + "…"

print(f"{'month':7}  {'company':28}  {'documents':>9}  first evidence")
for month, _key, name, count, titles, evidence in by_sql:
    sentences = [sentence for sentences in evidence for sentence in sentences]
    print(f"{month}  {short(name, 28):28}  {count:9}  {short((sentences or titles)[0], 70)}")
print(f"{len(by_sql)} rows, the same from DuckDB {duckdb.__version__} and Polars {pl.__version__}")
