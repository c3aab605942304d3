//! The examples do what they say, and every command of the documents is one.

use clap::Parser;

use crate::support::{Lab, NETCORD};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn the_examples_do_what_they_say() {
    let lab = Lab::new();
    let bin = NETCORD.rsplit_once('/').unwrap().0;
    let scripts = ["examples", "examples/break-it"]
        .map(|directory| std::fs::read_dir(format!("{ROOT}/{directory}")).unwrap());
    for entry in scripts.into_iter().flatten() {
        let script = entry.unwrap().path();
        // The one with docker is for a host that has it.
        if script.extension().is_some_and(|e| e == "sh") && !script.ends_with("docker-none.sh") {
            lab.sh(&format!("PATH={bin}:$PATH sh {}", script.display())).ok();
        }
    }
}

#[test]
fn every_command_of_the_documents_is_one() {
    let documents = std::fs::read_dir(format!("{ROOT}/docs")).unwrap();
    let documents = documents.map(|entry| entry.unwrap().path());
    let mut count = 0;
    for document in documents.chain([format!("{ROOT}/README.md").into()]) {
        if document.is_dir() {
            continue;
        }
        let text = std::fs::read_to_string(&document).unwrap();
        for line in text.split("```").skip(1).step_by(2).flat_map(str::lines) {
            let Some(words) = command(line) else { continue };
            count += 1;
            if let Err(error) = netcord::cli::Cli::try_parse_from(words) {
                panic!("{}: `{line}`: {error}", document.display());
            }
        }
    }
    assert!(count > 40, "the documents show {count} commands");
}

/// The words of a line that runs netcord, after a prompt or not, without what the shell does.
fn command(line: &str) -> Option<Vec<&str>> {
    let line = line.trim_start();
    let line = ["$ ", "# ", "lab /# ", "host2 /# ", "address=$("]
        .iter()
        .find_map(|prompt| line.strip_prefix(prompt))
        .unwrap_or(line);
    let ends = |word: &str| ["#", "&", "&&", "|"].contains(&word) || word.starts_with('>');
    let words = line.trim_end_matches(')').split_whitespace();
    let words: Vec<_> = words.take_while(|word| !ends(word)).collect();
    (words.first() == Some(&"netcord")).then_some(words)
}
