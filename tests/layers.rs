//! Who may import whom: the table of docs/architecture.md holds in the source, and inside of `ops`
//! there is no circle.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use crate::support::modules::{is_word, only_declares, paths, paths_from};

/// What is outside of a layer's trade, and the layers (or folders, or files) whose trade it is.
const TRADES: [(&str, &[&str]); 18] = [
    ("nix::", &["kernel", "process", "state/file"]),
    ("rustix::", &["kernel", "process"]),
    ("signal_hook::", &["process"]),
    ("rtnetlink::", &["kernel"]),
    ("netlink_packet_core::", &["kernel"]),
    ("netlink_packet_netfilter::", &["kernel"]),
    ("IPTables", &["kernel"]),
    ("std::process::Command", &["kernel", "process"]),
    ("clap::", &["cli", "main", "podman"]),
    ("comfy_table::", &["output"]),
    ("io::stdout", &["output"]),
    ("io::stderr", &["output"]),
    ("hyper::", &["docker", "engine"]),
    // Every verb gets the records by the same door, with the housekeeping of all verbs.
    ("State::locked", &["ops/upkeep/entry"]),
    // Others ask a driver what it does, not which one it is.
    ("Driver::Bridge", &DRIVERS),
    ("Driver::Foreign", &DRIVERS),
    ("Driver::Underlay", &DRIVERS),
    ("Driver::Macvlan", &DRIVERS),
];

/// Where the drivers of networks are distinguished.
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
        for used in used(&text) {
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
fn ops_imports_in_no_circle() {
    let modules = Modules::of("ops");
    let shown: Vec<_> = modules.circles().iter().map(|circle| modules.show(circle)).collect();
    assert!(shown.is_empty(), "these import each other:\n{}", shown.join("\n"));
}

#[test]
fn a_circle_is_found_through_an_export_and_an_expression() {
    let modules = |texts: &[(&str, &str)]| {
        let all = texts.iter().map(|(file, text)| (PathBuf::from(file), (*text).to_owned()));
        Modules::new("ops", all)
    };
    let root = ("ops/mod.rs", "mod a; mod room; pub use self::a::Session;");
    let declares = (
        "ops/room/mod.rs",
        "//! fn of a room\npub(super) mod b; mod c; pub(super) use self::c::f;",
    );
    let a = ("ops/a.rs", "struct Session; fn g() { super::room::f(\"super::room::b\") }");
    let c = ("ops/room/c.rs", "use crate::{model, ops::Session}; pub(in crate::ops) fn f() {}");
    let b = ("ops/room/b.rs", "use super::{super::a, c::{self, f}}; // super::b\nfn h() {}");
    assert_eq!(modules(&[root, declares, a, b, c]).circles(), [["a", "room/c"]]);
    let folder = ("ops/room/mod.rs", "mod b; mod c; fn f() {}");
    assert_eq!(modules(&[root, folder, a, b, c]).circles(), [["a", "room"]]);
    let through = ("ops/a.rs", "struct Session; use super::room; fn g() { room::c::f() }");
    assert_eq!(modules(&[root, declares, through, b, c]).circles(), [["a", "room/c"]]);
    let none = ("ops/a.rs", "struct Session; // super::room::f()");
    assert_eq!(modules(&[root, declares, none, b, c]).circles(), Vec::<Vec<String>>::new());
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

#[test]
fn the_picture_shows_the_import_table() {
    const MARK: &str =
        "<!-- written by `UPDATE=1 cargo test --test main layers::` from the table -->\n";
    let file = root().join("docs/architecture.md");
    let document = fs::read_to_string(&file).unwrap();
    let (before, after) = document.split_once(MARK).unwrap();
    let (_, after) = after.split_once("\n```\n").unwrap();
    let expected = format!("{before}{MARK}{}```\n{after}", picture(&table()));
    if env::var_os("UPDATE").is_some() {
        fs::write(&file, &expected).unwrap();
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), expected, "UPDATE=1 draws it anew");
}

/// A Mermaid diagram of the table. It leaves out an arrow where others lead the same way.
fn picture(table: &BTreeMap<String, Vec<String>>) -> String {
    let mut lines = String::from("```mermaid\nflowchart TD\n");
    for (layer, used) in table {
        let is_direct = |to: &&String| !used.iter().any(|via| via != *to && leads(table, via, to));
        for to in used.iter().filter(is_direct) {
            writeln!(lines, "    {layer} --> {to}").unwrap();
        }
    }
    lines
}

/// Whether a layer uses another one, directly or through others.
fn leads(table: &BTreeMap<String, Vec<String>>, from: &str, to: &str) -> bool {
    table[from].iter().any(|via| via == to || leads(table, via, to))
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

/// The modules at the root of the crate that a text names.
fn used(text: &str) -> BTreeSet<String> {
    let is_of_crate = |path: &Vec<String>| path[0] == "crate" || path[0] == "netcord";
    paths(text).into_iter().filter(is_of_crate).filter_map(|path| path.get(1).cloned()).collect()
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

/// The modules below a folder. A node is a file, or a folder whose `mod.rs` has code of its own, with
/// all that is in it; a `mod.rs` that only declares and exports is a room, and no node.
struct Modules {
    folder: String,
    /// By path below the folder, which itself is the empty one.
    texts: BTreeMap<Vec<String>, String>,
}

impl Modules {
    fn of(folder: &str) -> Self {
        Self::new(folder, sources().into_iter().map(|(path, _, text)| (path, text)))
    }

    fn new(folder: &str, sources: impl Iterator<Item = (PathBuf, String)>) -> Self {
        let below = |(path, text): (PathBuf, String)| {
            let path = path.with_extension("");
            let path = path.strip_prefix(folder).ok()?.iter().map(|part| part.to_str().unwrap());
            Some((path.filter(|part| *part != "mod").map(str::to_owned).collect(), text))
        };
        Self { folder: folder.to_owned(), texts: sources.filter_map(below).collect() }
    }

    /// The nodes that import each other, a list a circle.
    fn circles(&self) -> Vec<Vec<String>> {
        let imported: Imports<'_> = self.nodes().map(|node| (node, self.imported(node))).collect();
        let reached: Imports<'_> =
            imported.keys().map(|node| (*node, reached(&imported, node))).collect();
        let circle = |node: &[String]| -> Vec<String> {
            let is_mutual = |other: &&&[String]| {
                reached[node].contains(*other) && reached[*other].contains(node)
            };
            reached.keys().filter(is_mutual).map(|path| path.join("/")).collect()
        };
        let circles: BTreeSet<_> = reached.keys().map(|node| circle(node)).collect();
        circles.into_iter().filter(|circle| circle.len() > 1).collect()
    }

    /// A line for each node of a circle, with those that it imports.
    fn show(&self, circle: &[String]) -> String {
        let line = |node: &String| {
            let path: Vec<_> = node.split('/').map(str::to_owned).collect();
            let imported = self.imported(&path).into_iter().map(|path| path.join("/"));
            let inside: Vec<_> = imported.filter(|other| circle.contains(other)).collect();
            format!("{node} imports {}\n", inside.join(", "))
        };
        circle.iter().map(line).collect()
    }

    fn nodes(&self) -> impl Iterator<Item = &[String]> {
        let nodes: BTreeSet<_> = self.texts.keys().filter_map(|path| self.node(path)).collect();
        nodes.into_iter()
    }

    /// The node that a module belongs to; a room belongs to none.
    fn node<'m>(&self, module: &'m [String]) -> Option<&'m [String]> {
        (0..=module.len())
            .map(|length| &module[..length])
            .find(|path| !only_declares(&self.texts[*path]))
    }

    fn imported(&self, node: &[String]) -> BTreeSet<&[String]> {
        let files = self.texts.iter().filter(|(path, _)| path.starts_with(node));
        let named = files.flat_map(|(module, text)| {
            let all = paths(text).into_iter();
            let all = all.filter_map(|path| self.absolute(module, &path));
            all.flat_map(|path| self.through(text, path)).collect::<Vec<_>>()
        });
        named.filter_map(|path| self.meant(&path)).filter(|other| *other != node).collect()
    }

    /// Of a room that a text imports, the paths that go on from its name.
    fn through(&self, text: &str, path: Vec<String>) -> Vec<Vec<String>> {
        let is_room = self.texts.contains_key(&path) && self.node(&path).is_none();
        let Some(name) = path.last().filter(|_| is_room) else { return vec![path] };
        let inner = paths_from(text, &[name]).into_iter();
        inner.map(|inner| [&path, &inner[1..]].concat()).collect()
    }

    /// A path as a module says it, from the folder; `None` if it leads out.
    fn absolute(&self, module: &[String], path: &[String]) -> Option<Vec<String>> {
        let (mut from, mut rest) = (module.to_vec(), path);
        if let [root, folder, inner @ ..] = path
            && root == "crate"
        {
            return (*folder == self.folder).then(|| inner.to_vec());
        }
        while let [first, inner @ ..] = rest
            && (first == "super" || first == "self")
        {
            if first == "super" {
                from.pop()?;
            }
            rest = inner;
        }
        Some([from, rest.to_vec()].concat())
    }

    /// The node that a path means: of what a room exports, the one that it comes from.
    fn meant(&self, path: &[String]) -> Option<&[String]> {
        let known = (0..=path.len()).rev().map(|length| &path[..length]);
        let known = known.into_iter().find_map(|path| self.texts.get_key_value(path));
        let (module, text) = known.unwrap();
        if let Some(node) = self.node(module) {
            return Some(node);
        }
        let name = path.get(module.len())?;
        let exported = paths(text).into_iter().find(|exported| exported.last() == Some(name));
        let Some(exported) = exported else { panic!("{} exports no {name}", module.join("/")) };
        self.meant(&self.absolute(module, &exported).unwrap())
    }
}

/// Nodes, and those that each imports.
type Imports<'m> = BTreeMap<&'m [String], BTreeSet<&'m [String]>>;

/// The nodes that a node imports, and those that these import.
fn reached<'m>(imports: &Imports<'m>, node: &'m [String]) -> BTreeSet<&'m [String]> {
    let (mut found, mut next) = (BTreeSet::new(), vec![node]);
    while let Some(node) = next.pop() {
        next.extend(imports[node].iter().filter(|other| found.insert(**other)));
    }
    found
}
