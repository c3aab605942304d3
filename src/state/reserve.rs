//! Space that is kept for removals, which must also succeed where no space is left.
//!
//! A file beside the records, larger than the largest of them. It is there before a record grows, so
//! a record that shrinks always has a place to be written to: over what is allocated already, and
//! then both files change names in one step. No new page and no new inode is needed.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, FallocateFlags, RenameFlags, fallocate, renameat_with},
    io::Errno,
};

const NAME: &str = "reserve";

/// What a page is, on most machines: file systems allocate no less.
const PAGE: u64 = 4096;

/// Whether an error says that there is no space left, or none for this user.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Sees to it that a record of this length can be written once more.
pub(super) fn keep(record: &Path, length: usize) -> io::Result<()> {
    let path = beside(record);
    let file = File::options().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
    // One page more: a removal may write down what an endpoint inherits.
    let wanted = (length as u64).next_multiple_of(PAGE) + PAGE;
    if file.metadata()?.len() >= wanted {
        return Ok(());
    }
    match fallocate(&file, FallocateFlags::empty(), 0, wanted) {
        // A file system where nothing can be reserved.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        result => result.map_err(io::Error::from),
    }
}

/// Writes a record that is there over the reserve, and lets them change places.
pub(super) fn spend(record: &Path, text: &[u8]) -> io::Result<()> {
    let path = beside(record);
    let mut file = File::options().write(true).open(&path)?;
    file.write_all(text)?;
    file.set_len(text.len() as u64)?;
    renameat_with(CWD, &path, CWD, record, RenameFlags::EXCHANGE)?;
    // What was the record has its space already; another may be larger.
    let dir = record.parent().unwrap_or(Path::new("."));
    let records =
        fs::read_dir(dir)?.flatten().filter(|e| e.path().extension() == record.extension());
    let longest = records.filter_map(|e| e.metadata().ok()).map(|m| m.len()).max();
    // If it cannot be had now, the next record that grows insists on it.
    drop(keep(record, usize::try_from(longest.unwrap_or_default()).unwrap_or(usize::MAX)));
    Ok(())
}

/// Gives the space back: there is no record any more.
pub(super) fn give_back(dir: &Path) {
    drop(fs::remove_file(dir.join(NAME)));
}

fn beside(record: &Path) -> PathBuf {
    record.with_file_name(NAME)
}
