//! netcord's output: data on stdout, everything else on stderr.
//!
//! No other code writes to either. All text goes through [`visible`], or [`visible_lines`] if the
//! lines are netcord's own, so that text from outside cannot control the terminal. Colours are
//! added after that. A reader that has closed the pipe is no failure.

mod progress;
mod template;

use std::{
    borrow::Cow,
    cell::Cell,
    env,
    fs::{self, File},
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;
use comfy_table::{Table, presets};
use serde::Serialize;
use unicode_width::UnicodeWidthStr;

pub use self::progress::{Doing, HandedOver};
use self::template::Template;
use crate::{
    error::{self, Error, Kind},
    model::{Activity, steers, visible, visible_lines},
    picture::{Ink, Line},
    plan::{Plan, Step, command},
    process::terminal,
};

/// The columns of a picture that no terminal shows.
pub const COLUMNS: usize = 80;

/// The version of the JSON output. Fields are only ever added.
const SCHEMA_VERSION: u32 = 1;

/// The format of results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// A table or a line, for people.
    Table,
    /// One JSON value.
    Json,
    /// One JSON object per line.
    Jsonl,
    /// A tree.
    Text,
    /// A graph for Graphviz.
    Dot,
    /// A diagram for Markdown viewers.
    Mermaid,
    /// A picture for browsers and documents.
    Svg,
    /// A picture in a page that shows what is connected with what.
    Html,
    /// The JSON of `docker network inspect`.
    Docker,
    /// A Go template, as typed.
    Template(String),
}

/// When colour is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The style of the output.
#[derive(Clone, Debug)]
pub struct Style {
    /// The format of results.
    pub format: Format,
    /// When colour is used.
    pub color: Color,
    /// Whether to print only errors, and of lists only names.
    pub quiet: bool,
    /// Whether to print each step with its reason.
    pub explain: bool,
    /// Whether to print each command.
    pub verbose: bool,
}

impl Style {
    /// The style for a program that reads what is printed, such as an engine.
    pub(crate) const PROGRAM: Self = Self {
        format: Format::Json,
        color: Color::Never,
        quiet: false,
        explain: false,
        verbose: false,
    };
}

/// Prints results and messages in a style.
#[derive(Debug)]
pub struct Output {
    /// The format of results.
    pub format: Format,
    /// Whether to print only errors, and of lists only names.
    pub quiet: bool,
    explain: bool,
    verbose: bool,
    /// The colours on stderr.
    paint: Paint,
    /// The colours on stdout.
    data_paint: Paint,
    /// The reason that was printed last: adjacent steps may share it.
    explained: Cell<&'static str>,
    /// The colours of the progress line, if stderr is a terminal.
    progress_paint: Option<Paint>,
}

impl Output {
    /// Makes an output in this style.
    pub fn new(style: Style) -> Self {
        let is_watched = !style.quiet && io::stderr().is_terminal() && !is_dumb();
        let paint = Paint::new(style.color, &io::stderr());
        Self {
            format: style.format,
            quiet: style.quiet,
            explain: style.explain,
            verbose: style.verbose,
            paint,
            data_paint: Paint::new(style.color, &io::stdout()),
            explained: Cell::new(""),
            progress_paint: is_watched.then_some(paint),
        }
    }

    /// Fails if the format is a template with an error.
    ///
    /// # Errors
    /// Then, before anything is changed.
    pub fn check_format(&self) -> Result<()> {
        self.template().map_or(Ok(()), |template| template.check())
    }

    fn template(&self) -> Option<Template> {
        match &self.format {
            Format::Template(typed) => Some(Template::new(typed)),
            _ => None,
        }
    }

    /// Begins an activity, which the progress line shows if it takes long. It ends when the
    /// returned value is dropped.
    pub fn doing(&self, activity: Activity, limit: Option<Duration>) -> Doing {
        Doing::new(self.progress_paint, activity, limit)
    }

    /// Returns the columns of the terminal that shows the results, if one does.
    pub fn columns(&self) -> Option<usize> {
        let stdout = io::stdout();
        stdout.is_terminal().then(|| terminal::columns(&stdout)).flatten()
    }

    /// Leaves the terminal to a command, until the returned value is dropped.
    pub fn hand_over(&self) -> HandedOver {
        HandedOver::new()
    }

    /// Prints one line of data.
    pub fn line(&self, text: &str) -> Result<()> {
        if self.quiet { Ok(()) } else { print(&text_of([text])) }
    }

    /// Prints data that `-q` does not suppress.
    pub fn data(&self, text: &str) -> Result<()> {
        print(&visible_lines(text))
    }

    /// Prints the result of a changing verb: one JSON object, or lines.
    pub fn result(&self, object: impl Serialize, lines: &[String]) -> Result<()> {
        match self.format {
            _ if self.quiet => Ok(()),
            Format::Json | Format::Jsonl => print(&json_line(Versioned::new(object))?),
            Format::Template(_) => self.rendered(&Versioned::new(object)),
            _ => print(&text_of(lines)),
        }
    }

    /// Prints the rows of a listing verb: with `-q` the names, otherwise in the format.
    /// A table leaves out the columns in `hidden`.
    pub fn list<T: Serialize>(
        &self,
        header: &[&str],
        hidden: &[&str],
        rows: &[Row<T>],
    ) -> Result<()> {
        if self.quiet {
            return print(&text_of(rows.iter().map(|r| &r.cells[0])));
        }
        let objects = rows.iter().map(|r| Versioned::new(&r.object));
        match &self.format {
            Format::Json => print(&json_line(objects.collect::<Vec<_>>())?),
            Format::Jsonl => print(&objects.map(json_line).collect::<Result<String>>()?),
            Format::Template(typed) => print(&through(&Template::new(typed), header, rows)?),
            _ => print(&table(header, hidden, rows, self.columns())),
        }
    }

    /// Prints an object through the template.
    fn rendered(&self, object: &impl Serialize) -> Result<()> {
        let Some(template) = self.template() else { return Ok(()) };
        let text = template.render(&serde_json::to_value(object)?)?;
        print(&(visible_lines(&text).into_owned() + "\n"))
    }

    /// Prints one JSON object, indented.
    pub fn object(&self, object: impl Serialize) -> Result<()> {
        if self.template().is_some() {
            return self.rendered(&Versioned::new(object));
        }
        print(&json_page(&Versioned::new(object))?)
    }

    /// Prints an array of JSON objects, indented.
    pub fn objects<T: Serialize>(&self, objects: &[T]) -> Result<()> {
        if self.template().is_some() {
            return objects.iter().try_for_each(|one| self.rendered(&Versioned::new(one)));
        }
        print(&json_page(&objects.iter().map(Versioned::new).collect::<Vec<_>>())?)
    }

    /// Prints JSON values of another program's form, indented.
    pub fn foreign<T: Serialize>(&self, values: &[T]) -> Result<()> {
        print(&json_page(&values)?)
    }

    /// Prints a picture made of text.
    pub fn styled(&self, lines: &[Line]) -> Result<()> {
        let paint = self.data_paint;
        let colored = lines
            .iter()
            .map(|Line(pieces)| pieces.iter().map(|(ink, text)| paint.ink(*ink, &visible(text))))
            .flat_map(|line| line.chain(["\n".to_owned()]));
        print(&colored.collect::<String>())
    }

    /// Prints a plan as a `sh` script; steps that have nothing to do are comments.
    pub fn script(&self, plan: &Plan, holds: impl Fn(usize) -> bool) -> Result<()> {
        let mut lines = vec!["#!/bin/sh".to_owned(), "set -eu".to_owned()];
        let mut why = "";
        for (i, step) in plan.iter().enumerate() {
            let Some(command) = command(step) else { continue };
            if step.why != why {
                why = step.why;
                lines.extend([String::new(), format!("# {why}")]);
            }
            lines.push(if holds(i) {
                format!("# no change: {}", short(&command))
            } else {
                command
            });
        }
        print(&visible_lines(&(lines.join("\n") + "\n")))
    }

    /// Prints a message that is no data.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            say(&text_of([text]));
        }
    }

    /// Prints a message if `-v` is given.
    pub fn verbose(&self, text: &str) {
        if self.verbose {
            self.note(text);
        }
    }

    /// Returns whether a user sits at a terminal, who could be cut off.
    pub fn is_on_terminal(&self) -> bool {
        io::stdin().is_terminal()
    }

    /// Returns the terminal that errors go to.
    pub fn terminal(&self) -> Option<PathBuf> {
        if !io::stderr().is_terminal() {
            return None;
        }
        fs::read_link("/proc/self/fd/2").ok()
    }

    /// Prints a message on a terminal, long after the command. The terminal may be gone.
    pub fn tell_terminal(&self, terminal: &Path, text: &str) {
        if let Ok(mut file) = File::options().write(true).open(terminal) {
            drop(write!(file, "\r\nnetcord: {}\r\n", visible(text)));
        }
    }

    /// Prints a warning: the action is carried out, but may not be what the user wants.
    pub fn warn(&self, text: &str) {
        if !self.quiet {
            say(&format!("{} {}\n", self.paint.yellow("warning:"), visible(text)));
        }
    }

    /// Prints a step that was carried out, or that had nothing to do.
    pub fn step(&self, step: &Step, changed: bool) {
        let command = command(step).map(|command| visible_lines(&command).into_owned());
        if self.explain {
            if self.explained.replace(step.why) != step.why {
                say(&format!("{}\n", self.paint.dim(&format!("# {}", step.why))));
            }
            let what = command.as_deref().unwrap_or("(in netcord's own record)");
            if changed {
                say(&format!("{what}\n"));
            } else {
                say(&format!("{}{}\n", short(what), self.paint.dim("   # no change")));
            }
        } else if self.verbose
            && changed
            && let Some(command) = command
        {
            say(&format!("+ {command}\n"));
        }
    }
}

/// Returns the first line of a command, which is enough for one that has nothing to do.
fn short(command: &str) -> Cow<'_, str> {
    match command.split_once('\n') {
        Some((first, _)) => format!("{first} ...").into(),
        None => command.into(),
    }
}

/// A row of a list: cells for people, an object for programs. The first cell is the name.
#[derive(Debug)]
pub struct Row<T> {
    /// One cell for each column of the header.
    pub cells: Vec<String>,
    /// The JSON object.
    pub object: T,
    /// docker's names of fields, for templates; the columns are fields too.
    pub docker: Vec<(&'static str, String)>,
}

/// An error as an object.
#[derive(Serialize)]
struct Reported<'e> {
    kind: &'static str,
    message: String,
    hint: Option<String>,
    commands: &'e [String],
    exit: u8,
}

/// Prints an error as one JSON object; returns the exit code.
pub fn report_json(error: &anyhow::Error) -> u8 {
    if is_closed_pipe(error) {
        return 0;
    }
    let kind = Kind::of(error);
    let reported = Reported {
        kind: kind.as_str(),
        message: format!("{error:#}"),
        hint: error::hint(error),
        commands: error::commands(error),
        exit: kind as u8,
    };
    if let Ok(line) = json_line(Versioned::new(reported)) {
        say(&line);
    }
    kind as u8
}

/// Prints an error with its hint; returns the exit code.
pub fn report(error: &anyhow::Error, color: Color) -> u8 {
    if is_closed_pipe(error) {
        return 0;
    }
    let paint = Paint::new(color, &io::stderr());
    say(&format!("{} {}\n", paint.red("error:"), visible(&format!("{error:#}"))));
    if let Some(hint) = error::hint(error) {
        say(&format!("\n{} {}\n", paint.cyan("hint:"), visible(&hint)));
    }
    for command in error::commands(error) {
        say(&format!("    {}\n", visible_lines(command)));
    }
    Kind::of(error) as u8
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Closed>().is_some()
}

/// The reader of stdout has closed it.
#[derive(Debug)]
struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("nobody reads the output")
    }
}

impl std::error::Error for Closed {}

/// Prints a line for a program that reads it, as it is.
///
/// # Errors
/// If it cannot be written.
pub fn raw(text: &str) -> Result<()> {
    print(&format!("{text}\n"))
}

fn print(text: &str) -> Result<()> {
    let _aside = progress::aside();
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Err(Closed.into()),
        Err(e) => {
            Err(Error::new(Kind::Failed, format!("cannot write the result to stdout: {e}")).into())
        }
        Ok(()) => Ok(()),
    }
}

fn say(text: &str) {
    let _aside = progress::aside();
    // If stderr fails, there is nowhere to report it.
    drop(io::stderr().lock().write_all(text.as_bytes()));
}

/// Returns rows through a template. Fields are those of JSON, of docker, and the columns.
fn through<T: Serialize>(template: &Template, header: &[&str], rows: &[Row<T>]) -> Result<String> {
    let mut texts = Vec::with_capacity(rows.len());
    for row in rows {
        let mut object = serde_json::to_value(Versioned::new(&row.object))?;
        if let Some(fields) = object.as_object_mut() {
            for (name, cell) in header.iter().zip(&row.cells) {
                fields.insert(field_of(name), cell.as_str().into());
            }
            let docker = row.docker.iter();
            fields.extend(docker.map(|(name, cell)| ((*name).to_owned(), cell.as_str().into())));
        }
        texts.push(template.render(&object)?);
    }
    if !template.is_table {
        return Ok(visible_lines(
            &texts.iter().map(|text| text.clone() + "\n").collect::<String>(),
        )
        .into_owned());
    }
    let header = template.header();
    let cells = texts.iter().map(|text| text.split('\t').map(str::to_owned).collect());
    let rows = cells.map(|cells| Row { cells, object: (), docker: Vec::new() });
    let header: Vec<_> = header.iter().map(String::as_str).collect();
    Ok(table(&header, &[], &rows.collect::<Vec<_>>(), None))
}

/// Returns the field of a column: `HostLink` for `HOST-LINK`.
fn field_of(column: &str) -> String {
    if column == "MAC" {
        return column.to_owned();
    }
    let words = column.split('-').map(|word| word[..1].to_owned() + &word[1..].to_lowercase());
    words.collect()
}

/// The space between columns.
const GAP: usize = 3;

fn table<T>(header: &[&str], hidden: &[&str], rows: &[Row<T>], columns: Option<usize>) -> String {
    let is_shown: Vec<_> = header.iter().map(|name| !hidden.contains(name)).collect();
    let shown = |cells: Vec<String>| -> Vec<String> {
        cells
            .into_iter()
            .zip(&is_shown)
            .filter(|(_, shown)| **shown)
            .map(|(cell, _)| cell)
            .collect()
    };
    let mut lines = vec![shown(header.iter().map(ToString::to_string).collect())];
    let cells = |row: &Row<T>| row.cells.iter().map(|cell| visible(cell).into_owned()).collect();
    lines.extend(rows.iter().map(|row| shown(cells(row))));
    fit(&mut lines, columns.unwrap_or(usize::MAX));
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let mut lines = lines.into_iter();
    table.set_header(lines.next().unwrap_or_default());
    for cells in lines {
        table.add_row(cells);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    // Columns as wide as their content, as docker prints them, without trailing spaces.
    text_of(table.lines().map(|line| line.trim_end().to_owned()))
}

/// Puts the parts of lists in cells below each other, the widest column first, until the lines fit.
fn fit(lines: &mut [Vec<String>], columns: usize) {
    let count = lines.first().map(Vec::len).unwrap_or_default();
    let width = |lines: &[Vec<String>], at: usize| {
        let parts = lines.iter().filter_map(|cells| cells.get(at)).flat_map(|cell| cell.lines());
        parts.map(UnicodeWidthStr::width).max().unwrap_or_default()
    };
    loop {
        let used = (0..count).map(|at| width(lines, at) + GAP).sum::<usize>();
        let has_list = |at: &usize| {
            lines.iter().any(|cells| cells[*at].contains(',') && !cells[*at].contains('\n'))
        };
        let widest = (0..count).filter(has_list).max_by_key(|at| width(lines, *at));
        let Some(widest) = widest.filter(|_| used > columns.saturating_add(GAP)) else { return };
        for cells in &mut *lines {
            cells[widest] = cells[widest].replace(", ", ",").replace(',', ",\n");
        }
    }
}

/// Joins lines, each with a line end.
fn text_of(lines: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    lines.into_iter().map(|line| visible(line.as_ref()).into_owned() + "\n").collect()
}

/// An object with the version of the JSON output.
#[derive(Debug, Serialize)]
struct Versioned<T> {
    schema_version: u32,
    #[serde(flatten)]
    object: T,
}

impl<T> Versioned<T> {
    fn new(object: T) -> Self {
        Self { schema_version: SCHEMA_VERSION, object }
    }
}

fn json_page(value: &impl Serialize) -> Result<String> {
    Ok(json_text(&serde_json::to_string_pretty(value)?) + "\n")
}

fn json_line(value: impl Serialize) -> Result<String> {
    Ok(json_text(&serde_json::to_string(&value)?) + "\n")
}

/// Escapes control characters in JSON text. serde escapes only those of ASCII; the others are
/// inside strings, where an escape means the same.
fn json_text(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            c if c != '\n' && steers(c) => {
                let units = &mut [0; 2];
                text.extend(c.encode_utf16(units).iter().map(|unit| format!("\\u{unit:04x}")));
            }
            c => text.push(c),
        }
    }
    text
}

/// Returns whether the terminal has no control sequences (`TERM=dumb`).
fn is_dumb() -> bool {
    env::var_os("TERM").is_some_and(|v| v == "dumb")
}

#[derive(Clone, Copy, Debug)]
struct Paint(bool);

impl Paint {
    fn new(color: Color, to: &impl IsTerminal) -> Self {
        Self(match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                let forbidden = env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
                to.is_terminal() && !forbidden && !is_dumb()
            }
        })
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.0 && !text.is_empty() {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    fn red(self, text: &str) -> String {
        self.with("1;31", text)
    }

    fn yellow(self, text: &str) -> String {
        self.with("1;33", text)
    }

    fn cyan(self, text: &str) -> String {
        self.with("1;36", text)
    }

    fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    fn ink(self, ink: Ink, text: &str) -> String {
        match ink {
            Ink::Plain => text.to_owned(),
            Ink::Faint => self.dim(text),
            Ink::Name => self.with("1", text),
            Ink::Address => self.with("36", text),
            Ink::Open => self.with("32", text),
            Ink::Bad => self.red(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_means_the_same_and_steers_no_terminal() {
        let hostile = "a\u{1b}\u{7f}\u{9b}\u{202e}\u{e0001}\n\"é";
        let json = json_line(hostile).unwrap();
        assert_eq!(json, "\"a\\u001b\\u007f\\u009b\\u202e\\udb40\\udc01\\n\\\"é\"\n");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), hostile);
    }

    #[test]
    fn names_keep_to_their_cells() {
        let rows = [Row {
            cells: vec!["a\u{1b}[2J".into(), "b\nc".into()],
            object: (),
            docker: Vec::new(),
        }];
        assert_eq!(table(&["A", "B"], &[], &rows, None), "A            B\na\\u{1b}[2J   b\\nc\n");
    }

    #[test]
    fn a_table_fits_its_terminal() {
        let cells = ["web", "10.7.0.2/24, fd00::2/64", "02:42:0a:07:00:02", "up"];
        let cells = cells.map(str::to_owned).to_vec();
        let rows = [Row { cells, object: (), docker: Vec::new() }];
        let header = ["TARGET", "ADDRESS", "MAC", "STATE"];
        let shown = |columns| table(&header, &["MAC"], &rows, columns);
        let wide =
            "TARGET   ADDRESS                   STATE\nweb      10.7.0.2/24, fd00::2/64   up\n";
        assert_eq!(shown(None), wide);
        assert_eq!(shown(Some(40)), wide);
        let narrow =
            "TARGET   ADDRESS        STATE\nweb      10.7.0.2/24,   up\n         fd00::2/64\n";
        assert_eq!(shown(Some(39)), narrow);
        assert_eq!(shown(Some(5)), narrow, "a word stays whole");
    }

    #[test]
    fn tables_are_dockers() {
        let rows =
            [Row { cells: vec!["lab0".into(), "bridge".into()], object: (), docker: Vec::new() }];
        assert_eq!(
            table(&["NETWORK", "MODE"], &[], &rows, None),
            "NETWORK   MODE\nlab0      bridge\n"
        );
    }
}
