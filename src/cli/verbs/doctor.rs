//! The verb `doctor`: its flags, its help, and what it prints.

use anyhow::Result;
use clap_complete::ArgValueCompleter;

use crate::{
    cli::complete,
    model::Severity,
    ops::{
        Session,
        diagnose::doctor::{self, Found},
    },
    output::{Format, Output},
    picture::{Ink, Line},
};

/// Find out why packets do not flow, and how to fix it
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Checks the host, its networks and all endpoints, or only one network or target: links and carrier, addresses, routes, MTUs, MACs, forwarding, firewalls (also those of other programs), reverse path filters, published ports, names, resolvers, connection tracking, and other programs that manage the links. It also checks targets that netcord did not attach and bridges that it did not make. It changes nothing.\n\nEach finding has its evidence, in the kernel's notation, and a command that fixes it, for you to judge and copy. On a healthy host nothing is printed; -v lists what was checked. Checks that lack a privilege are reported.\n\nExit codes: 0 nothing found; 1 something found.\n\nExamples:\n  netcord doctor\n  netcord doctor web\n  netcord doctor docker0\n  netcord doctor --format json | jq -r '.findings[].command'"
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
        let code = u8::from(!report.findings.is_empty());
        match output.format {
            Format::Json => output.result(report, &[])?,
            Format::Jsonl => {
                for found in &report.findings {
                    output.result(found, &[])?;
                }
            }
            _ => {
                output.verbose(&format!("checked: {}", report.checked.join(", ")));
                if !output.quiet {
                    output.styled(&text(&report.findings))?;
                }
            }
        }
        Ok(code)
    }
}

fn text(found: &[Found]) -> Vec<Line> {
    let mut lines = Vec::new();
    for Found { id, finding } in found {
        if !lines.is_empty() {
            lines.push(Line::default());
        }
        let ink = match finding.severity {
            Severity::Error => Ink::Bad,
            Severity::Warning => Ink::Address,
        };
        lines.push(Line(vec![
            (ink, finding.severity.as_str().to_owned()),
            (Ink::Plain, ": ".to_owned()),
            (Ink::Name, finding.place.clone()),
            (Ink::Plain, format!(": {}  ", finding.what)),
            (Ink::Faint, format!("[{id}]")),
        ]));
        for evidence in &finding.evidence {
            lines.push(Line(vec![(Ink::Faint, format!("    {evidence}"))]));
        }
        if let Some(command) = &finding.command {
            lines.push(Line(vec![(Ink::Plain, "    $ ".to_owned()), (Ink::Open, command.clone())]));
        }
    }
    lines
}
