//! The examples do what they say, and every command of the documents is one.

use clap::Parser;

use crate::support::{Lab, NETCORD};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn the_examples_do_what_they_say() {
    let lab = Lab::new();
    let bin = NETCORD.rsplit_once('/').unwrap().0;
    for entry in std::fs::read_dir(format!("{ROOT}/examples")).unwrap() {
        let script = entry.unwrap().path();
        // The one with docker is for a host that has it.
        if script.extension().is_some_and(|e| e == "sh") && !script.ends_with("docker-none.sh") {
            lab.sh(&format!("PATH={bin}:$PATH sh {}", script.display())).ok();
        }
    }
}

#[test]
fn every_command_of_the_readme_is_one() {
    let text = std::fs::read_to_string(format!("{ROOT}/README.md")).unwrap();
    let blocks = text.split("```").skip(1).step_by(2).flat_map(str::lines);
    let mut count = 0;
    for line in blocks {
        let line = line.trim_start_matches(['#', '$', ' ']);
        let line = line.strip_prefix("address=$(").map_or(line, |l| l.trim_end_matches(')'));
        // A comment, and what is the shell's.
        let ends = |word: &str| ["#", "&&", "|"].contains(&word) || word.starts_with('>');
        let words: Vec<_> = line.split_whitespace().take_while(|word| !ends(word)).collect();
        if words.first() != Some(&"netcord") {
            continue;
        }
        count += 1;
        if let Err(error) = netcord::cli::Cli::try_parse_from(&words) {
            panic!("README: `{line}`: {error}");
        }
    }
    assert!(count > 10, "the README shows {count} commands");
}
