//! The results for people: on a terminal, or as `bench/RESULTS.md` with its pictures.
//!
//! * [`aims`]: what is aimed at, met or not
//! * [`pictures`]: the curves
//! * [`figures`]: the few figures that `docs/performance.md` shows
//! * [`tables`]: the tables

mod aims;
mod figures;
pub(crate) mod pictures;
mod tables;

use std::fmt::Write as _;

use anyhow::Result;
use comfy_table::{TableStyle, presets};

use crate::{
    growth::{Line, endpoints::Endpoints, ports::Ports},
    machine, results,
    turns::Turns,
};
use tables::{microseconds, milliseconds};

/// All that was measured in one run.
pub(crate) struct Results {
    /// How often each operation, and how often each at every size of the growths.
    pub(crate) repeats: [u16; 2],
    /// One endpoint more.
    pub(crate) turns: Option<Turns>,
    /// The N-th endpoint.
    pub(crate) endpoints: Option<Endpoints>,
    /// The N-th published port.
    pub(crate) ports: Option<Ports>,
    /// Who did not take part, and why.
    pub(crate) missing: Vec<String>,
}

/// The packages of the others, as Debian names them.
const PACKAGES: [&str; 5] =
    ["containernetworking-plugins", "netavark", "docker.io", "iproute2", "iptables"];

/// A heading, a sentence and a table.
type Section = (&'static str, String, String);

/// Plain text.
pub(crate) fn text(results: &Results) -> String {
    let mut text = String::new();
    for (heading, _, table) in sections(results, presets::NOTHING) {
        _ = writeln!(text, "{heading}\n\n{table}\n");
    }
    for line in aims::lines(results) {
        _ = writeln!(text, "aim: {line}");
    }
    for line in notes(results) {
        _ = writeln!(text, "note: {line}");
    }
    text
}

/// Writes `bench/RESULTS.md`, the pictures, and the figures of `docs/performance.md`.
pub(crate) fn write(measured: &Results) -> Result<()> {
    results::put_part(&markdown(measured)?)?;
    if let Some(turns) = &measured.turns {
        figures::write(turns)?;
    }
    pictures::write()
}

fn markdown(results: &Results) -> Result<String> {
    let mut text = format!(
        "# What netcord costs, and what others do\n\n\
         Written by `./x bench --write` on {}\n\n\
         Everybody does the same work on a host of their own (namespaces in a throwaway host), as \
         whole processes that are started, waited for and checked, taking turns in one run. Trust \
         the ratios more than the digits. netcord is the static binary that `./x dist` builds.\n\n\
         ## Aims\n\n",
        machine::sentences(&PACKAGES)?
    );
    for line in aims::lines(results) {
        _ = writeln!(text, "* {line}");
    }
    for (heading, sentence, table) in sections(results, presets::ASCII_MARKDOWN) {
        _ = write!(text, "\n## {heading}\n\n{sentence}\n\n{table}\n");
    }
    text.push_str("\n## What each row is\n\n");
    if let Some(turns) = &results.turns {
        for line in tables::sentences(turns) {
            _ = writeln!(text, "* {line}");
        }
    }
    for (name, is) in results.ports.iter().flat_map(|ports| &ports.is) {
        _ = writeln!(text, "* the N-th published port, {name}: {is}");
    }
    for line in notes(results) {
        _ = writeln!(text, "* {line}");
    }
    Ok(text)
}

fn sections(results: &Results, style: TableStyle) -> Vec<Section> {
    let [repeats, growth_repeats] = results.repeats;
    let mut sections = Vec::new();
    if let Some(turns) = &results.turns {
        let sentence = format!(
            "A network that has one endpoint gets another; {repeats} times, each time a fresh target."
        );
        let table = tables::of_turns(turns, style).trim_fmt();
        sections.push(("One endpoint", sentence, table));
    }
    let table = |lines: &[Line], sizes: &[u16], unit| {
        tables::of_lines(lines, sizes, unit, style).trim_fmt()
    };
    if let Some(Endpoints { sizes, attach, detach }) = &results.endpoints {
        let sentence = format!(
            "A network that has N-1 endpoints (the first has a neighbour too) gets another; \
             milliseconds, median (p10-p90) of {growth_repeats}."
        );
        sections.push((pictures::ATTACH, sentence, table(attach, sizes, milliseconds)));
        let sentence = "And loses it again.".to_owned();
        sections.push((
            "Detach of the N-th endpoint",
            sentence,
            table(detach, sizes, milliseconds),
        ));
    }
    if let Some(Ports { sizes, publish, connect, .. }) = &results.ports {
        let sentence = format!(
            "A host that has N-1 published ports gets another; milliseconds, median (p10-p90) of \
             {growth_repeats}."
        );
        sections.push((pictures::PUBLISH, sentence, table(publish, sizes, milliseconds)));
        let sentence = "TCP `connect` from outside to that port, until it returns; microseconds, \
                        median (p10-p90) of 200 for each time it was set up."
            .to_owned();
        sections.push((pictures::CONNECT, sentence, table(connect, sizes, microseconds)));
    }
    sections
}

/// Who is missing, where and why.
fn notes(results: &Results) -> Vec<String> {
    let mut notes = results.missing.clone();
    for line in results.ports.iter().flat_map(|ports| &ports.publish) {
        if let Some(why) = &line.stopped {
            notes.push(format!(
                "the N-th published port, {}: not measured further: {why}",
                line.name
            ));
        }
    }
    notes
}
