//! The format of a record file: lines of JSON, a head followed by one entry a line. So adding an
//! entry appends a line, and a reader of one entry need not parse the others.
//!
//! A line counts once its end is written. Bytes behind the last line end come from a run that was
//! killed or is writing at this moment, and are ignored.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    ops::Range,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use nix::libc::{ELOOP, O_NOFOLLOW, O_NONBLOCK};
use serde::Serialize;

use super::reserve;

/// The limit on the size of a file. It bounds the cost of a broken one.
const SIZE_MAX: u64 = 16 << 20;

/// The lines of a file.
#[derive(Debug)]
pub(super) struct Lines {
    text: String,
    /// Whether the file ends with a line end.
    pub(super) is_whole: bool,
}

impl Lines {
    /// Reads a file; `None` if there is none.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] if the file is not one of ours.
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        let mut file = match open(path, File::options().read(true)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let size = file.metadata()?.len();
        if size > SIZE_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default() + 1);
        file.read_to_end(&mut bytes)?;
        // Bytes that are not UTF-8 are not JSON either, and fail when a line is parsed.
        let text = String::from_utf8(bytes)
            .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
        Ok(Some(Self::of(text)))
    }

    fn of(mut text: String) -> Self {
        let end = text.rfind('\n').map_or(0, |last| last + 1);
        let is_whole = end == text.len() && end > 0;
        text.truncate(end);
        Self { text, is_whole }
    }

    /// The first line; empty if it is incomplete.
    pub(super) fn head(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }

    /// The lines after the first.
    pub(super) fn entries(&self) -> impl Iterator<Item = &str> {
        self.text.lines().skip(1)
    }

    /// The same lines, each with its byte offset.
    pub(super) fn entries_with_places(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut next = 0;
        let lines = self.text.split_inclusive('\n').map(move |line| {
            next += line.len();
            (next - line.len(), &line[..line.len() - 1])
        });
        lines.skip(1)
    }

    /// The text at a byte range.
    pub(super) fn at(&self, place: &Range<usize>) -> &str {
        &self.text[place.clone()]
    }
}

/// Replaces a file atomically. A file that does not grow can be replaced even if no space is left.
pub(super) fn replace<T: Serialize>(
    path: &Path,
    head: &impl Serialize,
    entries: &[T],
    grows: bool,
) -> io::Result<()> {
    let mut text = lines(&[head])?;
    text.extend(lines(entries)?);
    if grows {
        reserve::keep(path, text.len())?;
    }
    match write_anew(path, &text) {
        // The error of the reserve would be less clear.
        Err(full) if !grows && reserve::is_full(&full) => {
            reserve::spend(path, &text).map_err(|_| full)
        }
        written => written,
    }
}

fn write_anew(path: &Path, text: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    // A killed run may have left a temporary file.
    remove(&new)?;
    let written = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .and_then(|mut file| file.write_all(text))
        .and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // Remove an incomplete file.
        drop(fs::remove_file(&new));
    }
    written
}

/// Appends entries to a file that ends with a line end.
pub(super) fn append(path: &Path, entries: &[impl Serialize]) -> io::Result<()> {
    let text = lines(entries)?;
    let mut file = open(path, File::options().append(true))?;
    let before = file.metadata()?.len();
    reserve::keep(path, usize::try_from(before).unwrap_or(usize::MAX).saturating_add(text.len()))?;
    let written = file.write_all(&text);
    if written.is_err() {
        file.set_len(before)?;
    }
    written
}

/// Opens a record file. Does not wait for a writer, as opening a FIFO would.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] if it is not a regular file, or belongs to another user.
pub(super) fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let not_ours =
        || io::Error::new(io::ErrorKind::InvalidData, "it is not a regular file of our own");
    let file = match options.custom_flags(O_NOFOLLOW | O_NONBLOCK).open(path) {
        Err(e) if e.raw_os_error() == Some(ELOOP) => return Err(not_ours()),
        opened => opened?,
    };
    let metadata = file.metadata()?;
    let is_ours = metadata.is_file() && metadata.uid() == fs::metadata("/proc/thread-self")?.uid();
    if is_ours { Ok(file) } else { Err(not_ours()) }
}

/// Removes a file, if it exists.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn lines(values: &[impl Serialize]) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    for value in values {
        serde_json::to_writer(&mut text, value)?;
        text.push(b'\n');
    }
    Ok(text)
}

#[cfg(test)]
impl FromIterator<String> for Lines {
    fn from_iter<I: IntoIterator<Item = String>>(lines: I) -> Self {
        Self::of(lines.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(path: &Path) -> Vec<String> {
        Lines::read(path).unwrap().unwrap().entries().map(str::to_owned).collect()
    }

    #[test]
    fn a_line_counts_once_its_end_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file.json");
        assert!(Lines::read(&path).unwrap().is_none());
        replace(&path, &"head", &["a"], true).unwrap();
        append(&path, &["b", "c"]).unwrap();
        assert_eq!(entries(&path), ["\"a\"", "\"b\"", "\"c\""]);
        let whole = fs::read(&path).unwrap();
        let ends: Vec<_> =
            whole.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(i, _)| i + 1).collect();
        for length in 0..=whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let lines = Lines::read(&path).unwrap().unwrap();
            let ended = ends.iter().filter(|end| **end <= length).count();
            assert_eq!(lines.is_whole, ends.contains(&length), "{length}");
            assert_eq!(lines.head(), if ended > 0 { "\"head\"" } else { "" }, "{length}");
            assert_eq!(lines.entries().count(), ended.saturating_sub(1), "{length}");
        }
    }
}
