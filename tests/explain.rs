//! The printed plan of every scenario, word for word: what a user reads is what is promised.
//! `UPDATE=1` writes the golden files anew.

use std::{env, fs, path::Path};

use crate::support::SCENARIOS;

/// Takes out what is another on every run: names made of cookies, and PIDs.
pub(crate) fn without_hashes(text: &str) -> String {
    let is_hash = |word: &str| {
        word.len() >= 14 && word[2..14].bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("nc") {
        let (before, from) = rest.split_at(at);
        result.push_str(before);
        let hash = from.is_char_boundary(14.min(from.len())) && is_hash(from);
        result.push_str(if hash { "HOSTLINK" } else { "nc" });
        rest = &from[if hash { 14 } else { 2 }..];
    }
    result + rest
}

/// What stands in a golden script instead of the table that all networks share.
const BY_REFERENCE: &str = ". tests/golden/shared/table.sh\n";

/// The part of a script that makes the table that all networks share.
fn table_of(script: &str) -> Option<&str> {
    let script = &script[script.find("# netcord's own nftables table:")?..];
    Some(&script[..script.find("\nEOF\n")? + "\nEOF\n".len()])
}

#[test]
fn every_scenario_prints_its_golden_script() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let update = env::var_os("UPDATE").is_some();
    let table_file = golden.join("shared/table.sh");
    fs::create_dir_all(golden.join("shared")).unwrap();
    let mut table = if update { String::new() } else { fs::read_to_string(&table_file).unwrap() };
    let mut differing = Vec::new();
    for scenario in SCENARIOS {
        let stage = scenario.stage();
        let before = stage.lab.snapshot();
        let mut script = without_hashes(&stage.dry_run());
        before.assert_same(&stage.lab.snapshot(), "a dry run changes nothing");
        if scenario.command.contains("PID") {
            let pid = stage.command.split(' ').next_back().unwrap();
            script = script.replace(&format!("/proc/{pid}/"), "/proc/PID/");
            for mark in [format!("-n {pid} "), format!("netns/{pid}\n"), format!("netns {pid}\n")] {
                script = script.replace(&mark, &mark.replace(pid, "PID"));
            }
            script = script.replace(&format!("exec {pid} "), "exec PID ");
            script = script.replace(&format!("lab0/{pid}"), "lab0/PID");
        }
        // The same in all that make it: printed once.
        if let (true, Some(found)) = (update && table.is_empty(), table_of(&script)) {
            table = found.to_owned();
            fs::write(&table_file, &table).unwrap();
        }
        if !table.is_empty() {
            script = script.replacen(&table, BY_REFERENCE, 1);
        }
        let file = golden.join(format!("{}.sh", scenario.name));
        if update {
            fs::write(&file, &script).unwrap();
        } else if fs::read_to_string(&file).unwrap_or_default() != script {
            differing.push(format!("{}:\n{script}", scenario.name));
        }
    }
    assert!(
        differing.is_empty(),
        "these scripts are not as in tests/golden; if that is meant, write them anew with \
         `UPDATE=1 cargo test explain`\n{}",
        differing.join("\n")
    );
}

#[test]
fn every_golden_file_has_a_scenario() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for entry in fs::read_dir(golden).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(SCENARIOS.iter().any(|s| s.name == name), "{} is left over", path.display());
    }
}

#[test]
fn shellcheck_finds_nothing_in_a_printed_script() {
    for scenario in SCENARIOS {
        let stage = scenario.stage();
        stage
            .lab
            .sh(&format!(
                "cat > /run/script.sh <<'END'\n{}END\nshellcheck /run/script.sh",
                stage.dry_run()
            ))
            .ok();
    }
}
