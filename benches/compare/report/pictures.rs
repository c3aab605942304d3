//! The curves, drawn from the tables of `bench/RESULTS.md`, so that a picture can be drawn anew without
//! measuring anything.

use anyhow::{Context, Result};

use crate::{
    chart::{self, Axis, Curve, Panel},
    results,
};

/// The headings of the tables.
pub(crate) const ATTACH: &str = "Attach of the N-th endpoint";
pub(crate) const PUBLISH: &str = "Set-up of the N-th published port";
pub(crate) const CONNECT: &str = "Connect through the N-th published port";

/// A table: the sizes, and a curve for each row.
struct Table {
    sizes: Vec<u16>,
    curves: Vec<Curve>,
}

/// Writes the pictures of the tables that there are.
pub(crate) fn write() -> Result<()> {
    let text = results::read()?;
    if let Some(table) = table(&text, ATTACH)? {
        results::put("endpoints.svg", &chart::svg(&[attach(table)?]))?;
    }
    if let (Some(publish), Some(connect)) = (table(&text, PUBLISH)?, table(&text, CONNECT)?) {
        let panels = [self::publish(publish)?, self::connect(connect)?];
        results::put("ports.svg", &chart::svg(&panels))?;
    }
    Ok(())
}

fn attach(table: Table) -> Result<Panel> {
    let claim = format!(
        "netcord attaches endpoint {} in {} ms, CNI in {} ms",
        table.last_size()?,
        table.last("netcord")?,
        table.last("CNI")?
    );
    let measured = "Attach of the N-th endpoint of a network";
    Ok(table.panel(claim, measured, "milliseconds", "endpoints of the network", false))
}

fn publish(table: Table) -> Result<Panel> {
    let claim = format!(
        "netcord publishes port {} in {} ms, CNI in {} ms",
        table.last_size()?,
        table.last("netcord")?,
        table.last("CNI")?
    );
    let measured = "Set-up of the N-th published port";
    Ok(table.panel(claim, measured, "milliseconds", "published ports", true))
}

fn connect(table: Table) -> Result<Panel> {
    let claim = format!(
        "Port {} connects in {} µs; {} µs by docker's rules",
        table.last_size()?,
        table.last("netcord")?,
        table.last("script")?
    );
    let measured = "TCP connect through the N-th published port";
    Ok(table.panel(claim, measured, "microseconds", "published ports", true))
}

impl Table {
    fn last_size(&self) -> Result<String> {
        let last = self.sizes.last().context("a table without sizes")?;
        Ok(chart::grouped(f64::from(*last)))
    }

    /// The value at the largest size of the first row whose name begins like this.
    fn last(&self, name: &str) -> Result<String> {
        let curve = self.curves.iter().find(|(curve, _)| curve.starts_with(name));
        let last = curve.and_then(|(_, points)| points.last());
        let last = last.filter(|(size, _)| Some(size) == self.sizes.last());
        last.map(|(_, value)| chart::grouped(value.round()))
            .with_context(|| format!("{name} was not measured to the end"))
    }

    fn panel(
        self,
        claim: String,
        measured: &'static str,
        y_label: &'static str,
        x_label: &'static str,
        logarithmic: bool,
    ) -> Panel {
        let x = Axis { label: x_label, logarithmic, ticks: self.sizes };
        Panel { claim, measured, x, y_label, curves: self.curves }
    }
}

/// Reads the table below a heading: a cell begins with the median, or says that there is none.
fn table(text: &str, heading: &str) -> Result<Option<Table>> {
    let Some((_, below)) = text.split_once(&format!("\n## {heading}\n")) else { return Ok(None) };
    let rows = below.lines().skip_while(|line| !line.starts_with('|'));
    let rows = rows.take_while(|line| line.starts_with('|'));
    let mut rows = rows.map(|row| row.trim_matches('|').split('|').map(str::trim));
    let header = rows.next().with_context(|| format!("no table below `{heading}`"))?;
    let sizes: Vec<u16> = header
        .skip(1)
        .map(|size| size.trim_end_matches('.').parse())
        .collect::<Result<_, _>>()
        .with_context(|| format!("the sizes below `{heading}`"))?;
    let mut curves = Vec::new();
    for mut row in rows.skip(1) {
        let name = row.next().unwrap_or_default().to_owned();
        let medians = row.map(|cell| cell.split(' ').next()?.parse().ok());
        let points = sizes.iter().zip(medians);
        curves.push((name, points.filter_map(|(size, median)| Some((*size, median?))).collect()));
    }
    Ok(Some(Table { sizes, curves }))
}
