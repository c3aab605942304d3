//! Reserves space for removals, which must also succeed if no space is left.
//!
//! The reserve is a file beside the records, larger than the largest of them. It grows before a
//! record grows, so a record that shrinks can always be written: over the allocated pages of the
//! reserve, which then takes the record's name. This needs no new page and no new inode; the space
//! of the former record is used by the next reserve.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

const NAME: &str = "reserve";

/// The usual page size. File systems allocate no less.
const PAGE: u64 = 4096;

/// Returns whether an error means that no space is left, or that this user's quota is used up.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Makes sure that a record of this length can be written once more.
pub(super) fn keep(record: &Path, length: usize) -> io::Result<()> {
    let path = beside(record);
    let mut file = File::options().append(true).create(true).mode(0o600).open(&path)?;
    // One page more: a removal may add what another endpoint inherits.
    let wanted = (length as u64).next_multiple_of(PAGE) + PAGE;
    let there = file.metadata()?.len();
    let missing = usize::try_from(wanted.saturating_sub(there)).unwrap_or(usize::MAX);
    if missing == 0 {
        return Ok(());
    }
    let written = file.write_all(&vec![0; missing]);
    if written.is_err() {
        file.set_len(there)?;
    }
    written
}

/// Writes a record into the reserve, which then replaces it atomically.
pub(super) fn spend(record: &Path, text: &[u8]) -> io::Result<()> {
    let path = beside(record);
    let mut file = File::options().write(true).open(&path)?;
    file.write_all(text)?;
    file.set_len(text.len() as u64)?;
    fs::rename(&path, record)?;
    let dir = record.parent().unwrap_or(Path::new("."));
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let records = entries.filter(|e| e.path().extension() == record.extension());
    let longest = records.filter_map(|e| e.metadata().ok()).map(|m| m.len()).max();
    // If this fails, the next record that grows tries again, and reports it.
    drop(keep(record, usize::try_from(longest.unwrap_or_default()).unwrap_or(usize::MAX)));
    Ok(())
}

/// Frees the space, when there is no record any more.
pub(super) fn give_back(dir: &Path) {
    drop(fs::remove_file(dir.join(NAME)));
}

fn beside(record: &Path) -> PathBuf {
    record.with_file_name(NAME)
}
