//! The tables, for a terminal and for Markdown.

use std::time::Duration;

use comfy_table::{Table, TableStyle};

use crate::{contender::Operation, growth::Line, measure::Series, turns::Turns};

/// One endpoint more, operation by operation.
pub(crate) fn of_turns(turns: &Turns, style: TableStyle) -> Table {
    let mut table = Table::new();
    table.load_style(style).set_header([
        "OPERATION",
        "BY",
        "MEDIAN MS",
        "P10",
        "P90",
        "X FLOOR",
        "X NETCORD",
    ]);
    for row in &turns.rows {
        let words = [row.operation.name(), row.name].map(str::to_owned);
        let cells = match &row.times {
            Err(why) => vec![format!("not measured: {why}")],
            Ok(series) => {
                let ratio = |name| {
                    let other = turns.times(row.operation, name);
                    other.map(|other| format!("{:.2}", series.ratio(other))).unwrap_or_default()
                };
                let mut cells = spread(series, milliseconds).to_vec();
                cells.extend([ratio("floor"), ratio("netcord")]);
                cells
            }
        };
        table.add_row(words.into_iter().chain(cells));
    }
    let process = ["process", "true"].map(str::to_owned);
    table.add_row(process.into_iter().chain(spread(&turns.process, milliseconds)));
    table
}

/// A growth: a row for each line, a column for each size, each cell a median and its spread.
pub(crate) fn of_lines(
    lines: &[Line],
    sizes: &[u16],
    unit: fn(Duration) -> String,
    style: TableStyle,
) -> Table {
    let mut table = Table::new();
    let header = sizes.iter().map(|size| format!("{size}."));
    table.load_style(style).set_header(["BY".to_owned()].into_iter().chain(header));
    for line in lines {
        let cells = sizes.iter().map(|size| match line.at(*size) {
            Some(series) => {
                let [median, low, high] = spread(series, unit);
                format!("{median} ({low}-{high})")
            }
            None => "not measured".to_owned(),
        });
        table.add_row([line.name.to_owned()].into_iter().chain(cells));
    }
    table
}

fn spread(series: &Series, unit: fn(Duration) -> String) -> [String; 3] {
    [series.median(), series.percentile(10), series.percentile(90)].map(unit)
}

/// In milliseconds.
pub(crate) fn milliseconds(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() * 1e3)
}

/// In microseconds.
pub(crate) fn microseconds(time: Duration) -> String {
    format!("{:.0}", time.as_secs_f64() * 1e6)
}

/// What each row of an operation is.
pub(crate) fn sentences(turns: &Turns) -> Vec<String> {
    let mut lines = Vec::new();
    for operation in Operation::ALL {
        for row in turns.rows.iter().filter(|row| row.operation == operation) {
            if row.times.is_ok() {
                lines.push(format!("{}, {}: {}", operation.name(), row.name, row.is));
            }
        }
    }
    lines.push("process, `true`: the start and the end of a program that does nothing.".to_owned());
    lines
}
