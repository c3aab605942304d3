//! No document, comment or message has a shape that docs/style.md forbids.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Files and folders that are checked.
const CHECKED: [&str; 11] = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs",
    "examples",
    "src",
    "agent",
    "tests",
    "man",
    "completions",
    "packaging",
];

#[test]
fn no_text_has_a_forbidden_shape() {
    let (shapes, mut wrong) = (shapes(), Vec::new());
    let files = CHECKED.iter().flat_map(|name| files(&root().join(name))).collect::<Vec<_>>();
    assert!(files.len() > 250, "{} files were found", files.len());
    for path in files {
        let text = prose(&fs::read_to_string(&path).unwrap(), path.ends_with("style.md"));
        for shape in &shapes {
            for found in occurrences(&text, shape) {
                wrong.push(format!("{}: `{shape}`: {found}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "see docs/style.md:\n{}", wrong.join("\n"));
}

#[test]
fn a_shape_is_found_across_lines_and_not_in_what_is_exempt() {
    let found = |text: &str| occurrences(&prose(text, true), "is told").len();
    assert_eq!(found("# who is\n# Told so"), 1);
    assert_eq!(found("- It is told.\n  What is told twice"), 2);
    assert_eq!(found("this is toldest, his told"), 0);
    assert_eq!(found("`is told`\n| is told | says |"), 0);
    assert_eq!(found("<!-- written by x -->\n```\nis told\n\nis told\n```\nis told"), 1);
    assert_eq!(found("<!-- written by x -->\n| a |\nis told\n\nis told"), 1);
    assert_eq!(occurrences("who is asked. Who is asked", "Who is").len(), 1);
}

#[test]
fn tests_that_a_document_names_exist() {
    let tests: Vec<_> =
        ["tests", "agent/tests"].iter().flat_map(|dir| files(&root().join(dir))).collect();
    let is_test = |name: &str| {
        let (module, function) = name.split_once("::").unwrap();
        tests.iter().any(|path| {
            let text = || fs::read_to_string(path).unwrap();
            path.file_stem().is_some_and(|stem| stem == module)
                && [format!("fn {function}()"), format!("\"{name}\"")]
                    .iter()
                    .any(|t| text().contains(t))
        })
    };
    let document = include_str!("../docs/flannel.md");
    let names: Vec<_> = document.split('`').filter(|name| name.contains("::")).collect();
    assert!(names.len() > 30, "{names:?}");
    let missing: Vec<_> = names.into_iter().filter(|name| !is_test(name)).collect();
    assert_eq!(missing, [""; 0]);
    let is_row = |line: &&str| line.starts_with("| ");
    let rows: Vec<_> = document.lines().filter(is_row).skip(1).collect();
    assert!(rows.len() == 19 && rows.iter().all(|row| row.contains("::")), "each has a test");
}

/// The list of docs/style.md.
fn shapes() -> Vec<String> {
    let guide = include_str!("../docs/style.md");
    let (_, list) = guide.split_once("## Forbidden shapes").unwrap();
    let entry = |line: &str| line.strip_prefix("- `")?.strip_suffix('`').map(str::to_owned);
    let shapes: Vec<_> = list.lines().filter_map(entry).collect();
    assert!(shapes.len() > 20, "{} shapes are listed", shapes.len());
    shapes
}

/// Every text file at a path: the file itself, or those below the folder. This file has the shapes as
/// examples.
fn files(path: &Path) -> Vec<PathBuf> {
    if !path.is_dir() {
        let is_picture = path.extension().is_some_and(|extension| extension == "svg");
        let is_exempt = is_picture || path.ends_with(file!());
        return if is_exempt { Vec::new() } else { vec![path.to_owned()] };
    }
    fs::read_dir(path).unwrap().flat_map(|entry| files(&entry.unwrap().path())).collect()
}

/// The text that a person wrote, in one line: without generated blocks, text in backquotes and the signs
/// that begin a comment, and, of the style guide, without the examples in its tables.
fn prose(text: &str, is_guide: bool) -> String {
    let mut written = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("<!-- written by") {
            let is_fenced = lines.next().is_some_and(|line| line.starts_with("```"));
            let is_end = |line: &&str| if is_fenced { *line == "```" } else { line.is_empty() };
            lines.by_ref().find(is_end);
        } else if !(is_guide && line.starts_with('|')) {
            let line = line.trim_start_matches([' ', '#', '/', '!']);
            written.push_str(&line.split('`').step_by(2).collect::<Vec<_>>().join("`"));
            written.push(' ');
        }
    }
    written.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The places of a shape, as whole words, with some text around each.
fn occurrences(text: &str, shape: &str) -> Vec<String> {
    let is_lower = shape.chars().all(|c| !c.is_uppercase());
    let text = if is_lower { text.to_lowercase() } else { text.to_owned() };
    let is_whole = |at: usize| {
        let (before, after) = (&text[..at], &text[at + shape.len()..]);
        !before.ends_with(char::is_alphanumeric) && !after.starts_with(char::is_alphanumeric)
    };
    let around = |at: usize| {
        let before = text[..at].char_indices().rev().nth(30).map_or(0, |(i, _)| i);
        text[before..].chars().take(80).collect()
    };
    text.match_indices(shape).map(|(at, _)| at).filter(|at| is_whole(*at)).map(around).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
