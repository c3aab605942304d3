//! The recording in the README, as the real programs print it. `UPDATE=1` writes it anew.

use std::{fmt::Write as _, path::Path};

use crate::{support::EngineHost, tour};

/// How long the reader sees the end, in seconds.
const END: f64 = 5.0;

#[test]
fn the_recording_of_the_readme_is_what_happens() {
    let host = EngineHost::new();
    host.neighbour("outside");
    host.sh("mkdir /run/site && echo '<h1>It works</h1>' >/run/site/index.html").ok();
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let shown = tour::play(&host, &docs.join("recording.sh"));
    let recording = animated(&tour::picture(&shown));
    let wrong = tour::compare(&docs.join("recording.svg"), &recording);
    assert!(wrong.is_none(), "if that is meant, write it anew with UPDATE=1\n{}", wrong.unwrap());
}

/// Returns a picture of a session whose lines appear one after the other, again and again: a command
/// as if it was typed, and then what it prints.
fn animated(picture: &str) -> String {
    const LINE: &str = r#"    <tspan x="10px""#;
    let begins = |line: &str| line.starts_with(LINE);
    let mut at = 0.0;
    let mut starts = Vec::new();
    for line in picture.lines().filter(|line| begins(line)) {
        let is_command = line.contains(r#"class="bold">$ "#);
        at += if is_command && !starts.is_empty() { 1.8 } else { 0.5 };
        starts.push(at);
    }
    let whole = at + END;
    let mut rules = String::new();
    for (number, start) in starts.iter().enumerate() {
        let percent = start / whole * 100.0;
        _ = writeln!(
            rules,
            "    .line{number} {{ animation: line{number} {whole:.1}s step-end infinite; }}\n    \
             @keyframes line{number} {{ 0% {{ visibility: hidden; }} {percent:.1}% {{ visibility: visible; }} }}"
        );
    }
    let mut number = 0;
    let lines = picture.lines().map(|line| {
        if !begins(line) {
            return line.to_owned() + "\n";
        }
        number += 1;
        line.replacen("<tspan ", &format!("<tspan class=\"line{}\" ", number - 1), 1) + "\n"
    });
    lines.collect::<String>().replacen("  </style>\n", &format!("{rules}  </style>\n"), 1)
}
