//! `bench/RESULTS.md` and its pictures. Each bench has a part of the file, which begins with a heading
//! of the first level, and leaves the parts of others.

use std::{fs, io, path::PathBuf};

use anyhow::{Context, Result};

const FILE: &str = "RESULTS.md";

/// Writes a file of `bench/`.
pub(crate) fn put(name: &str, text: &str) -> Result<()> {
    let file = path(name);
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// Returns `bench/RESULTS.md`; empty if there is none.
pub(crate) fn read() -> Result<String> {
    match fs::read_to_string(path(FILE)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => Ok(read?),
    }
}

/// Writes the part that begins with the heading of this text.
pub(crate) fn put_part(text: &str) -> Result<()> {
    let before = read()?;
    let heading = text.lines().next().unwrap_or_default();
    let mut parts: Vec<&str> = Vec::new();
    let mut rest = before.as_str();
    while !rest.is_empty() {
        let end = rest.find("\n# ").map_or(rest.len(), |end| end + 1);
        let (part, later) = rest.split_at(end);
        parts.push(part.trim_end());
        rest = later;
    }
    match parts.iter_mut().find(|part| part.lines().next() == Some(heading)) {
        Some(part) => *part = text.trim_end(),
        None => parts.push(text.trim_end()),
    }
    put(FILE, &(parts.join("\n\n") + "\n"))
}

fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "bench", name].iter().collect()
}
