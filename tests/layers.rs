//! Who may import whom: the table of docs/architecture.md holds in the source.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// What is outside of a layer's trade, and the layers (or folders, or files) whose trade it is.
const TRADES: [(&str, &[&str]); 17] = [
    ("nix::", &["kernel", "process", "state/file"]),
    ("rustix::", &["kernel", "process"]),
    ("signal_hook::", &["process"]),
    ("rtnetlink::", &["kernel"]),
    ("netlink_packet_core::", &["kernel"]),
    ("netlink_packet_netfilter::", &["kernel"]),
    ("IPTables", &["kernel"]),
    ("std::process::Command", &["kernel", "process"]),
    ("clap::", &["cli", "main"]),
    ("comfy_table::", &["output"]),
    ("io::stdout", &["output"]),
    ("io::stderr", &["output"]),
    ("hyper::", &["engine"]),
    // Others ask a driver what it does, not which one it is.
    ("Driver::Bridge", &DRIVERS),
    ("Driver::Foreign", &DRIVERS),
    ("Driver::Underlay", &DRIVERS),
    ("Driver::Macvlan", &DRIVERS),
];

/// Where a network's driver is told from others.
const DRIVERS: [&str; 4] = ["cli", "model/network/driver", "plan/driver", "ops/driver"];

/// Words that have no place in a program that is done.
const FORBIDDEN: [&str; 7] = ["TODO", "FIXME", "XXX", "HACK", "dbg!", "todo!", "unimplemented!"];

#[test]
fn the_import_table_holds() {
    let mut wrong = Vec::new();
    let table = table();
    for (path, layer, text) in sources().into_iter().filter(|(_, layer, _)| layer != "lib") {
        let allowed = table.get(&layer);
        let Some(allowed) = allowed else {
            panic!("{} is in no layer of the table", path.display())
        };
        let crate_name = if layer == "main" { "netcord::" } else { "crate::" };
        for used in used(&text, crate_name) {
            if used != layer && !allowed.contains(&used) {
                wrong.push(format!("{} uses {used}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_trade_has_its_place() {
    let mut wrong = Vec::new();
    for (path, layer, text) in sources() {
        let file = path.with_extension("");
        for (word, places) in TRADES {
            let is_in = |place: &&str| file.starts_with(place) || file.ends_with(place);
            let mine = places.iter().any(|place| *place == layer || is_in(place));
            let used = text.lines().any(|l| {
                let code = l.split("//").next().unwrap_or_default();
                code.match_indices(word).any(|(i, _)| !code[..i].ends_with(is_word))
            });
            if used && !mine {
                wrong.push(format!("{} uses {word}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_is_left_for_later() {
    let mut wrong = Vec::new();
    for (path, _, text) in sources() {
        for (i, line) in text.lines().enumerate() {
            if FORBIDDEN.iter().any(|word| line.contains(word)) {
                wrong.push(format!("{}:{}: {line}", path.display(), i + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The rows of the document's table: a layer, and the layers that it may use.
fn table() -> BTreeMap<String, Vec<String>> {
    let document = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let words = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    let rows = document.lines().filter_map(|line| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let ["", layer, _, allowed, ""] = cells[..] else { return None };
        let layer = layer.strip_prefix('`')?.strip_suffix('`')?;
        Some((layer.to_owned(), words(allowed)))
    });
    rows.collect()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every source file with its layer, which is its first folder, or its own name.
fn sources() -> Vec<(PathBuf, String, String)> {
    let src = root().join("src");
    let (mut found, mut folders) = (Vec::new(), vec![src.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let inside = path.strip_prefix(&src).unwrap();
            let layer = inside.iter().next().unwrap().to_str().unwrap();
            let layer = layer.strip_suffix(".rs").unwrap_or(layer).to_owned();
            let text = fs::read_to_string(&path).unwrap();
            // Unit tests stand behind the code.
            let code = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
            found.push((inside.to_owned(), layer, code));
        }
    }
    assert!(found.len() > 40, "the sources are found");
    found
}

/// The modules of the crate that a text names: `crate::a::...`, and each first word of
/// `crate::{a::..., b}`.
fn used(text: &str, crate_name: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices(crate_name) {
        let rest = &text[at + crate_name.len()..];
        let word = |text: &str| text.chars().take_while(|c| is_word(*c)).collect::<String>();
        let Some(group) = rest.strip_prefix('{') else {
            found.insert(word(rest));
            continue;
        };
        let (mut depth, mut begins) = (0, true);
        for (i, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                c if begins && is_word(c) => {
                    found.insert(word(&group[i..]));
                    begins = false;
                }
                _ => {}
            }
        }
    }
    found
}
