//! The verb `doctor`: its flags, its help, and what it prints.

use anyhow::Result;
use clap_complete::ArgValueCompleter;

use crate::{
    cli::complete,
    error::Kind,
    model::Severity,
    ops::{
        Session,
        diagnose::doctor::{self, Found},
    },
    output::{Format, Output},
    picture::{Ink, Line, Paragraph},
};

/// Find out why packets do not flow, and how to fix it
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Checks the host, its networks and all endpoints, or only one network or target: links and carrier, addresses, routes, MTUs, MACs, forwarding, firewalls (also those of other programs), reverse path filters, published ports, names, resolvers, connection tracking, and other programs that manage the links. It also checks targets that netcord did not attach and bridges that it did not make. And it follows packets, as `trace` does, without sending any: from outside, from the host and from a neighbour to each published port, and from each endpoint to its gateways and to the world. It changes nothing.\n\nEach finding has its evidence, in the kernel's notation, and a command that fixes it, for you to judge and copy. On a healthy host nothing is printed; -v lists what was checked. Checks that lack a privilege are reported.\n\nExit codes: 0 nothing found; 1 something found; 5 nothing found, but a privilege is missing to check everything.\n\nExamples:\n  netcord doctor\n  netcord doctor web\n  netcord doctor docker0\n  netcord doctor --format json | jq -r '.findings[].command'"
)]
pub(crate) struct Args {
    /// Check only this network or target [default: everything on this host]
    #[arg(value_name = "TARGET|NETWORK", add = ArgValueCompleter::new(complete::networks_and_targets))]
    name: Option<String>,
}

impl Args {
    pub(super) async fn run(self, session: &Session<'_>, output: &Output) -> Result<u8> {
        let report = doctor::doctor(session, &doctor::Doctor { name: self.name }).await?;
        for unchecked in &report.unchecked {
            output.warn(&format!("not looked at: {unchecked}"));
        }
        // "Nothing found" would promise more than was looked at.
        let code = match report.findings.is_empty() {
            true if report.is_refused => {
                output.note("run it as root to check the rest; `netcord lab` needs no root");
                Kind::Permission as u8
            }
            is_healthy => u8::from(!is_healthy),
        };
        match output.format {
            Format::Json | Format::Template(_) => output.result(report, &[])?,
            Format::Jsonl => {
                for found in &report.findings {
                    output.result(found, &[])?;
                }
            }
            _ => {
                output.verbose(&format!("checked: {}", report.checked.join(", ")));
                if !output.quiet {
                    output.styled(&text(&report.findings, output.columns()))?;
                }
            }
        }
        Ok(code)
    }
}

/// Returns the findings; on a terminal, sentences and evidence fit its width. Commands stay whole, so
/// that they can be copied.
fn text(found: &[Found], columns: Option<usize>) -> Vec<Line> {
    let width = columns.unwrap_or(usize::MAX);
    let mut lines = Vec::new();
    for Found { id, finding } in found {
        if !lines.is_empty() {
            lines.push(Line::default());
        }
        let ink = match finding.severity {
            Severity::Error => Ink::Bad,
            Severity::Warning => Ink::Address,
        };
        let start = vec![
            (ink, finding.severity.as_str().to_owned()),
            (Ink::Plain, ": ".to_owned()),
            (Ink::Name, finding.place.clone()),
            (Ink::Plain, ": ".to_owned()),
        ];
        let id = (Ink::Faint, format!("[{id}]"));
        Paragraph { start, indent: 4, width }.write(
            &mut lines,
            Ink::Plain,
            &finding.what,
            Some(id),
        );
        for evidence in &finding.evidence {
            let start = vec![(Ink::Faint, "    ".to_owned())];
            Paragraph { start, indent: 6, width }.write(&mut lines, Ink::Faint, evidence, None);
        }
        if let Some(command) = &finding.command {
            lines.push(Line(vec![(Ink::Plain, "    $ ".to_owned()), (Ink::Open, command.clone())]));
        }
    }
    lines
}
