//! Parquet files of parts → one file, a row group per part.
//!
//! Encoded columns are copied as they are, with their statistics and page indexes; only the format's deprecated `min`
//! and `max`, which `min_value` and `max_value` repeat, are dropped.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::column::writer::ColumnCloseResult;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataOptions, ParquetMetaDataReader};
use parquet::file::writer::SerializedFileWriter;

use super::{io_error, properties};

/// Writes the rows of `parts`, files of one table by the same model, to one file. In memory are the footers: of the
/// part being copied, and of the whole.
///
/// # Errors
///
/// `InvalidInput` without parts; `InvalidData` for parts that differ in columns or metadata; an error that names the
/// part for one that cannot be read; those of `out`.
pub(in crate::output) fn assemble(parts: &[PathBuf], out: impl Write + Send) -> io::Result<()> {
    let Some(first) = parts.first() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no parts to assemble, write at least one"));
    };
    let (_, footer) = open(first)?;
    let wanted = footer.file_metadata();
    let properties = properties().set_key_value_metadata(wanted.key_value_metadata().cloned()).build();
    let schema = wanted.schema_descr().root_schema_ptr();
    let mut whole = SerializedFileWriter::new(out, schema, Arc::new(properties)).map_err(io_error)?;
    for path in parts {
        let (file, part) = open(path)?;
        let own = part.file_metadata();
        if own.schema() != wanted.schema() || own.key_value_metadata() != wanted.key_value_metadata() {
            let message = format!("{} is of another table or model than {}", path.display(), first.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        copy_rows(&file, &part, &mut whole)?;
    }
    whole.close().map_err(io_error)?;
    Ok(())
}

/// A part and its footer.
fn open(path: &Path) -> io::Result<(File, ParquetMetaData)> {
    let read = || {
        let file = File::open(path)?;
        let footer = ParquetMetaDataReader::new()
            .with_page_index_policy(PageIndexPolicy::Optional)
            // Whole, so that they can be written again.
            .with_metadata_options(Some(ParquetMetaDataOptions::new().with_encoding_stats_as_mask(false)))
            .parse_and_finish(&file)
            .map_err(io_error)?;
        Ok((file, footer))
    };
    read().map_err(|e: io::Error| io::Error::new(e.kind(), format!("cannot read {}: {e}", path.display())))
}

fn copy_rows<W: Write + Send>(
    file: &File,
    part: &ParquetMetaData,
    whole: &mut SerializedFileWriter<W>,
) -> io::Result<()> {
    let indexes = part.page_index();
    for (at, group) in part.row_groups().iter().enumerate() {
        let mut copy = whole.next_row_group().map_err(io_error)?;
        for (column, chunk) in group.columns().iter().enumerate() {
            let encoded = ColumnCloseResult {
                bytes_written: chunk.compressed_size().unsigned_abs(),
                rows_written: group.num_rows().unsigned_abs(),
                metadata: chunk.clone(),
                bloom_filter: None,
                column_index: indexes.and_then(|i| i.column_index(at, column)).cloned(),
                offset_index: indexes.and_then(|i| i.offset_index(at, column)).cloned(),
            };
            copy.append_column(file, encoded).map_err(io_error)?;
        }
        copy.close().map_err(io_error)?;
    }
    Ok(())
}
