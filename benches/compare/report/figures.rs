//! The few figures that `docs/performance.md` shows, so that they are those of the last run.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context, Result};

use crate::{
    contender::{Netavark, NetcordCni, Operation},
    turns::Turns,
};

/// What the figures are between.
const BEGIN: &str = "<!-- written by ./x bench --write -->\n";
const END: &str = "<!-- end -->\n";

const OPERATIONS: [Operation; 3] = [Operation::Attach, Operation::AttachPublish, Operation::Detach];

/// The contenders that the page names, with what they are to a reader who knows none.
const WHO: [(&str, &str); 8] = [
    ("netcord", "netcord"),
    (NetcordCni::NAME, "netcord, called as CNI plugin"),
    (Netavark::DROP_IN, "netcord, called by podman"),
    ("floor", "the kernel's floor (raw netlink)"),
    ("script", "the manual steps as a script"),
    ("CNI", "CNI `bridge` + `host-local`, `portmap`"),
    ("netavark", "netavark (podman's)"),
    ("docker", "`docker network connect`"),
];

/// Writes them into the page.
pub(super) fn write(turns: &Turns) -> Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/performance.md");
    let text = fs::read_to_string(&file)?;
    let (before, rest) =
        text.split_once(BEGIN).context("docs/performance.md has no place for figures")?;
    let (_, after) = rest.split_once(END).context("the place for figures has no end")?;
    fs::write(&file, format!("{before}{BEGIN}{}{END}{after}", table(turns)))?;
    Ok(())
}

/// Times of netcord, and how many times that the others take.
fn table(turns: &Turns) -> String {
    let mut table = "| |".to_owned();
    for operation in OPERATIONS {
        _ = write!(table, " {} |", operation.name());
    }
    table.push_str("\n| --- | --: | --: | --: |\n");
    for (name, what) in WHO {
        _ = write!(table, "| {what} |");
        for operation in OPERATIONS {
            _ = write!(table, " {} |", cell(turns, operation, name));
        }
        table.push('\n');
    }
    table
}

fn cell(turns: &Turns, operation: Operation, name: &str) -> String {
    let (own, other) = (turns.times(operation, "netcord"), turns.times(operation, name));
    match own.zip(other) {
        Some((own, _)) if name == "netcord" => {
            format!("{:.1} ms", own.median().as_secs_f64() * 1e3)
        }
        Some((own, other)) => format!("{:.1} x", other.ratio(own)),
        None => "-".to_owned(),
    }
}
