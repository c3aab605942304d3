//! The verb `graph`: its flags, its help, and what it prints.

use anyhow::Result;
use clap_complete::ArgValueCompleter;

use crate::{
    cli::{complete, values::among},
    error::Error,
    ops::{Session, diagnose::graph},
    output::{COLUMNS, Format, Output},
    picture,
};

/// Draw the host's network: bridges, ports, endpoints, addresses, published ports
#[derive(clap::Args, Debug)]
#[command(
    after_help = "The picture shows the kernel's state, so it includes bridges, veth pairs and containers that netcord did not make. Each line of a network is an endpoint: the host end, the namespace, the link inside, addresses, MAC, gateway, published ports. A namespace is shown by its name in /run/netns, its container, or a process in it. Reading other namespaces needs root.\n\nExamples:\n  netcord graph\n  netcord graph lab0 web\n  netcord graph --format svg > host.svg\n  netcord graph --format html --compact > host.html\n  netcord graph --format dot | dot -Tpdf > host.pdf"
)]
pub(crate) struct Args {
    /// Only these networks and targets [default: everything on this host]
    #[arg(value_name = "NETWORK|TARGET", add = ArgValueCompleter::new(complete::networks_and_targets))]
    names: Vec<String>,
    /// In SVG and HTML, show three of many targets that are connected in the same way, and the number
    /// of the others
    #[arg(long)]
    compact: bool,
    // The global flag with other values.
    /// The output format
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "text",
        value_parser = among(&[Format::Text, Format::Dot, Format::Mermaid, Format::Svg, Format::Html, Format::Json])
    )]
    pub(in crate::cli) format: Format,
}

impl Args {
    pub(super) async fn run(self, session: &Session<'_>, output: &Output) -> Result<()> {
        if self.compact && !matches!(output.format, Format::Svg | Format::Html) {
            return Err(Error::usage("this format does not support --compact")
                .hint("add `--format svg` or `--format html`")
                .into());
        }
        let graph = graph::graph(session, &graph::GraphOf { names: self.names }).await?;
        let columns = output.columns().unwrap_or(COLUMNS);
        match output.format {
            Format::Json => output.object(graph),
            Format::Jsonl => output.result(graph, &[]),
            Format::Dot => output.data(&picture::dot::draw(&graph)),
            Format::Mermaid => output.data(&picture::mermaid::draw(&graph)),
            Format::Svg => output.data(&picture::svg::draw(&graph, self.compact)),
            Format::Html => output.data(&picture::html::draw(&graph, self.compact)),
            _ => output.styled(&picture::text::draw(&graph, columns)),
        }
    }
}
