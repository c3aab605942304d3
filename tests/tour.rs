//! The sessions that the documents show, as the real program prints them on a real terminal: as
//! text in blocks below a mark, and in colour as pictures. `UPDATE=1` writes both anew, as
//! `./x tour` does.
//!
//! A scene is a file `docs/tour/N-NAME.sh`, a command a line. All scenes are played one after the
//! other on one host, which `docs/tour/host.sh` prepares.

#![expect(clippy::disallowed_types, reason = "tests run programs")]

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anstyle_svg::{Palette, Term};

use crate::support::{Lab, NETCORD};

/// As wide as a table of `ps`; a picture of it has room in a page of GitHub's.
const COLUMNS: usize = 96;

/// Types a scene into a terminal. What fails is part of the show.
const TYPE: &str = r#"
stty cols "$WIDTH" rows 50 -onlcr
while IFS= read -r line <&3; do
    case $line in '' | '#'*) continue ;; esac
    printf '\033[1m$ %s\033[0m\n' "$line"
    eval "$line" 3<&-
done 3<"$SCENE"
"#;

/// Above a block: what writes it, and from which scene.
const MARK: &str = "<!-- written by ./x tour from ";

#[test]
fn the_documents_show_what_the_program_prints() {
    let tour = Tour::play();
    let mut wrong: Vec<_> = tour
        .pictures()
        .iter()
        .filter_map(|(name, picture)| compare(&tour_dir().join(name), picture))
        .collect();
    let mut shown = BTreeSet::new();
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        wrong.extend(compare(&document, &tour.fill_in(&text, &mut shown)));
    }
    assert!(
        wrong.is_empty(),
        "if that is meant, write it anew with `./x tour`\n{}",
        wrong.join("\n")
    );
    let scenes: BTreeSet<_> = tour.scenes.keys().cloned().collect();
    assert_eq!(shown, scenes, "each scene is shown in a document");
}

/// What a reader takes for a session was one. The blocks with docker are played with a real one by
/// `docs/recording.sh` and the example `docker-none.sh`.
#[test]
fn every_session_of_the_readme_is_played() {
    let readme = include_str!("../README.md");
    let parts: Vec<_> = readme.split("```").collect();
    for pair in parts.chunks_exact(2) {
        let (before, block) = (pair[0], pair[1]);
        let is_command = |line: &&str| line.starts_with("$ ") || line.starts_with("# ");
        let (commands, output): (Vec<_>, Vec<_>) =
            block.lines().skip(1).map(str::trim_start).partition(is_command);
        let is_session = commands.iter().any(|line| line[2..].starts_with("netcord "));
        let is_played = before.trim_end().lines().last().is_some_and(|l| l.starts_with(MARK));
        let is_docker = commands.iter().any(|line| line.starts_with("# docker "));
        assert!(!is_session || output.is_empty() || is_played || is_docker, "not played:{block}");
    }
}

/// What was to be seen.
struct Tour {
    /// What was on the terminal, by the name of the scene, with its colours.
    scenes: BTreeMap<String, String>,
    /// The picture that the program itself drew.
    host: String,
}

impl Tour {
    fn play() -> Self {
        let lab = Lab::new();
        lab.sh(&format!("cd /run; . {}", tour_dir().join("host.sh").display())).ok();
        let mut names = LinkNames::default();
        let scenes = files(&tour_dir(), "sh")
            .into_iter()
            .filter(|path| !path.ends_with("host.sh"))
            .map(|path| {
                let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
                (name, names.replace(&play(&lab, &path)))
            })
            .collect();
        let host = fs::read_to_string(lab.path("/run/host.svg")).expect("a scene draws the host");
        Self { scenes, host: names.replace(&host) }
    }

    /// The files of pictures.
    fn pictures(&self) -> BTreeMap<String, String> {
        let scenes = self.scenes.iter().map(|(name, text)| (format!("{name}.svg"), picture(text)));
        scenes.chain([("host.svg".to_owned(), self.host.clone())]).collect()
    }

    /// The document with its blocks written anew; notes the scenes.
    fn fill_in(&self, document: &str, shown: &mut BTreeSet<String>) -> String {
        let mut made = String::new();
        let mut lines = document.split_inclusive('\n');
        while let Some(line) = lines.next() {
            made += line;
            let Some(file) = line.trim().strip_prefix(MARK) else { continue };
            let name = file.trim_end_matches(" -->").rsplit('/').next().unwrap();
            let name = name.trim_end_matches(".sh").to_owned();
            let text = self.scenes.get(&name).unwrap_or_else(|| panic!("there is no {file}"));
            made += &block(text);
            shown.insert(name);
            let mut fences = 0;
            while fences < 2 {
                let line = lines.next().unwrap_or_else(|| panic!("no block below {file}"));
                assert!(fences == 1 || line.starts_with("```"), "no block below {file}");
                fences += usize::from(line.starts_with("```"));
            }
        }
        made
    }
}

/// What is on the terminal after a scene.
pub(crate) fn play(lab: &Lab, scene: &Path) -> String {
    fs::write(lab.path("/run/type"), TYPE).unwrap();
    let bin = Path::new(NETCORD).parent().unwrap();
    let output = lab
        .command("script")
        .args(["--quiet", "--command", "cd /run && sh /run/type", "/dev/null"])
        .env("SHELL", "/bin/sh")
        .env("SCENE", scene)
        .env("WIDTH", COLUMNS.to_string())
        .env("TERM", "xterm-256color")
        .env("PATH", format!("{}:{}", bin.display(), env::var("PATH").unwrap()))
        .output()
        .expect("script (util-linux) runs");
    String::from_utf8(output.stdout).unwrap()
}

/// The name of a host end is made of its namespace's cookie, which the kernel counts up from its
/// start. Here each gets a number in its place, as long, in the order of their first appearance.
#[derive(Default)]
struct LinkNames(Vec<String>);

impl LinkNames {
    fn replace(&mut self, text: &str) -> String {
        const DIGITS: usize = 12;
        let mut parts = text.split("nc");
        let mut made = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            made += "nc";
            match part.split_at_checked(DIGITS) {
                Some((hash, rest)) if hash.bytes().all(|b| b.is_ascii_hexdigit()) => {
                    let known = self.0.iter().position(|name| name == hash);
                    let index = known.unwrap_or_else(|| {
                        self.0.push(hash.to_owned());
                        self.0.len() - 1
                    });
                    let number = format!("{:0DIGITS$x}", index + 1);
                    made += &number;
                    made += rest;
                }
                _ => made += part,
            }
        }
        made
    }
}

/// What a terminal shows, as text to copy.
fn block(text: &str) -> String {
    let plain = anstream::adapter::strip_str(text).to_string();
    let lines = plain.lines().map(|line| line.trim_end().to_owned() + "\n");
    format!("```console\n{}```\n", lines.collect::<String>())
}

/// What a terminal shows, as a picture; dark, because on white the colours are hard to read.
pub(crate) fn picture(text: &str) -> String {
    let palette: [(u8, u8, u8); 16] = [
        (0x48, 0x4f, 0x58),
        (0xff, 0x7b, 0x72),
        (0x56, 0xd3, 0x64),
        (0xe3, 0xb3, 0x41),
        (0x79, 0xc0, 0xff),
        (0xd2, 0xa8, 0xff),
        (0x56, 0xd4, 0xdd),
        (0xb1, 0xba, 0xc4),
        (0x6e, 0x76, 0x81),
        (0xff, 0xa1, 0x98),
        (0x7e, 0xe7, 0x87),
        (0xf2, 0xcc, 0x60),
        (0xa5, 0xd6, 0xff),
        (0xe2, 0xc5, 0xff),
        (0xb3, 0xf0, 0xff),
        (0xff, 0xff, 0xff),
    ];
    let svg = Term::new()
        .palette(Palette::from(palette.map(Into::into)))
        .fg_color((0xe6, 0xed, 0xf3).into())
        .bg_color((0x16, 0x1b, 0x22).into())
        // What that many columns need at the size of its font.
        .min_width_px((COLUMNS * 84).div_ceil(10))
        .render_svg(wrap(text).trim_end())
        // Browsers do not apply `opacity` to a part of a text.
        .replacen(".dimmed { opacity: 0.4; }", ".dimmed { fill-opacity: 0.65; }", 1);
    // Without it a picture that is shown smaller is cut off.
    let size = |name: &str| {
        let value = svg.split_once(&format!("{name}=\"")).unwrap().1;
        value.split_once("px").unwrap().0.to_owned()
    };
    let view = format!("<svg viewBox=\"0 0 {} {}\" ", size("width"), size("height"));
    svg.replacen("<svg ", &view, 1)
}

/// Breaks lines that are wider than the picture between words, and indents what follows as the line.
fn wrap(text: &str) -> String {
    text.split('\n').map(wrap_line).collect::<Vec<_>>().join("\n")
}

fn wrap_line(line: &str) -> String {
    let plain = anstream::adapter::strip_str(line).to_string();
    let indent = plain.len() - plain.trim_start().len();
    let (mut made, mut column) = (String::new(), 0);
    for word in line.split_inclusive(' ') {
        let width = anstream::adapter::strip_str(word).to_string().chars().count();
        if column + word_width(word) > COLUMNS && column > indent {
            made += "\n";
            made += &" ".repeat(indent);
            column = indent;
        }
        made += word;
        column += width;
    }
    assert!(column <= COLUMNS + 1, "a word is wider than the picture: {plain}");
    made
}

/// Without colours, and without the space behind it.
fn word_width(word: &str) -> usize {
    anstream::adapter::strip_str(word).to_string().trim_end().chars().count()
}

#[test]
fn pictures_of_sessions_do_not_break_words() {
    let word = "x".repeat(COLUMNS / 2);
    let line = format!("  \u{1b}[1m{word} {word}\u{1b}[0m tail");
    assert_eq!(wrap(&line), format!("  \u{1b}[1m{word} \n  {word}\u{1b}[0m tail"));
    assert_eq!(wrap("a b\n\nc"), "a b\n\nc");
}

/// What is another than it should be, if it is.
pub(crate) fn compare(path: &Path, text: &str) -> Option<String> {
    if env::var_os("UPDATE").is_some() {
        fs::write(path, text).unwrap();
    }
    if fs::read_to_string(path).is_ok_and(|committed| committed == text) {
        return None;
    }
    let made = tempfile::NamedTempFile::new().unwrap();
    fs::write(made.path(), text).unwrap();
    let diff = Command::new("diff")
        .args(["--unified", "--new-file", "--label", "committed", "--label", "now"])
        .args([path, made.path()])
        .output()
        .expect("diff (diffutils) runs");
    Some(format!("{}:\n{}", path.display(), String::from_utf8_lossy(&diff.stdout)))
}

/// Every document that may show a scene.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    [root.to_owned(), root.join("docs"), tour_dir()].iter().flat_map(|d| files(d, "md")).collect()
}

/// The files of a directory with this extension, by their names.
fn files(dir: &Path, extension: &str) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|e| e == extension)).collect()
}

fn tour_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tour")
}
