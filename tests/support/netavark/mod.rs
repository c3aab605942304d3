//! netavark's own tests, and other programs by podman's side, which `./x setup` fetches.

use std::path::{Path, PathBuf};

use super::{EngineHost, Run, lab::NETCORD};

/// Tests that fail, with the reason: `NAME: REASON` in each line.
const KNOWN: &str = include_str!("known.txt");

/// What was fetched.
#[track_caller]
fn fetched() -> PathBuf {
    let target = Path::new(NETCORD).ancestors().nth(2).unwrap();
    let fetched = target.join("netavark");
    assert!(fetched.join("complete").exists(), "run `./x setup` first: {}", fetched.display());
    fetched
}

/// The directory of Debian's packages `aardvark-dns` and `bats`, unpacked.
#[track_caller]
pub(crate) fn packages() -> PathBuf {
    fetched().join("debian")
}

/// The result of a part of the suite.
#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) passed: Vec<String>,
    pub(crate) failed: Vec<String>,
    whole: String,
}

/// Runs files of the suite on a fresh host.
#[track_caller]
pub(crate) fn run(files: &[&str]) -> Results {
    let host = EngineHost::without_engines();
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/netavark");
    let files: Vec<_> = files.iter().map(|file| format!("{file}.bats")).collect();
    let Run { stdout, stderr, .. } = host.sh(&format!(
        "bash {here}/run.sh {fetched} {NETCORD} {here} {files}",
        fetched = fetched().display(),
        files = files.join(" ")
    ));
    let named = |begin: &str| {
        let lines = stdout.lines().filter_map(|line| line.strip_prefix(begin));
        let names = lines.filter(|line| !line.contains("# skip"));
        names.filter_map(|l| l.split_once(' ')).map(|(_, name)| name.to_owned()).collect()
    };
    Results { passed: named("ok "), failed: named("not ok "), whole: format!("{stdout}\n{stderr}") }
}

impl Results {
    /// Fails if a test failed that is not known to.
    #[track_caller]
    pub(crate) fn check(&self) {
        let is_known = |name: &str| {
            KNOWN
                .lines()
                .any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(": ")))
        };
        let unknown: Vec<_> = self.failed.iter().filter(|name| !is_known(name)).collect();
        assert!(unknown.is_empty(), "{unknown:#?}\n{}", self.whole);
        assert!(!self.passed.is_empty(), "{}", self.whole);
    }
}
