//! The results for people: a table and the aims, on a terminal or as `bench/RESULTS.md`.

use std::{fmt::Write as _, fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use comfy_table::{Table, TableStyle, presets};

use crate::{
    contender::Contender,
    measure::Series,
    run::{Pair, Results},
};

/// An attach takes at most so many times the floor.
const AIM_FLOOR: f64 = 3.0;
/// An attach is at least so many times faster than the manual steps.
const AIM_SCRIPT: f64 = 8.0;

/// Where the times of an operation are.
type Times = fn(&Pair) -> &Series;

/// The operations, each with its word.
const OPERATIONS: [(&str, Times); 2] =
    [("attach", |pair| &pair.attach), ("detach", |pair| &pair.detach)];

/// The table and the aims, as plain text.
pub(crate) fn text(results: &Results) -> String {
    let mut text = format!("{}\n\n", table(results, presets::NOTHING).trim_fmt());
    for aim in aims(results) {
        _ = writeln!(text, "{aim}");
    }
    text
}

/// Writes `bench/RESULTS.md`.
pub(crate) fn write(results: &Results) -> Result<()> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench");
    fs::create_dir_all(&directory)?;
    let file = directory.join("RESULTS.md");
    fs::write(&file, markdown(results)?).with_context(|| format!("cannot write {}", file.display()))
}

fn markdown(results: &Results) -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let repeats = results.repeats;
    let mut text = format!(
        "# What one attach costs\n\n\
         Written by `./x bench --write` on {date}: {cores} cores, Linux {kernel}. Whole processes, \
         {repeats} repeats each, taking turns in one run in a throwaway host; times in \
         milliseconds. Trust the ratios more than the digits.\n\n{table}\n\n",
        date = today()?,
        kernel = kernel.trim(),
        table = table(results, presets::ASCII_MARKDOWN),
    );
    for aim in aims(results) {
        _ = writeln!(text, "* {aim}");
    }
    text.push_str("\nWhat each row is:\n\n");
    for Pair { who, .. } in &results.pairs {
        _ = writeln!(text, "* attach, {}: {}", who.name(), who.attach_is());
    }
    for Pair { who, .. } in &results.pairs {
        _ = writeln!(text, "* detach, {}: {}", who.name(), who.detach_is());
    }
    text.push_str("* process, `true`: the start and the end of a program that does nothing.\n");
    Ok(text)
}

fn table(results: &Results, style: TableStyle) -> Table {
    let mut table = Table::new();
    table.load_style(style).set_header([
        "OPERATION",
        "BY",
        "MEDIAN",
        "P10",
        "P90",
        "X FLOOR",
        "FASTER THAN SCRIPT",
    ]);
    for (operation, times) in OPERATIONS {
        let of = |who| results.of(who).map(times);
        for pair in &results.pairs {
            let series = times(pair);
            table.add_row(row(
                [operation, pair.who.name()],
                series,
                of(Contender::Floor).map(|floor| series.ratio(floor)),
                of(Contender::Script).map(|script| script.ratio(series)),
            ));
        }
    }
    table.add_row(row(["process", "true"], &results.process, None, None));
    table
}

fn row(
    words: [&str; 2],
    series: &Series,
    of_floor: Option<f64>,
    of_script: Option<f64>,
) -> Vec<String> {
    let milliseconds = |time: Duration| format!("{:.2}", time.as_secs_f64() * 1000.0);
    let ratio = |ratio: Option<f64>| ratio.map(|r| format!("{r:.1}")).unwrap_or_default();
    let mut row = words.map(str::to_owned).to_vec();
    row.extend([
        milliseconds(series.median()),
        milliseconds(series.percentile(10)),
        milliseconds(series.percentile(90)),
        ratio(of_floor),
        ratio(of_script),
    ]);
    row
}

/// What netcord is meant to reach; nothing if it did not take part.
fn aims(results: &Results) -> Vec<String> {
    let attach = |who| results.of(who).map(|pair| &pair.attach);
    let (Some(netcord), Some(script), Some(floor)) =
        (attach(Contender::Netcord), attach(Contender::Script), attach(Contender::Floor))
    else {
        return Vec::new();
    };
    let (floors, faster) = (netcord.ratio(floor), script.ratio(netcord));
    let met = |met: bool| if met { "met" } else { "not met" };
    vec![
        format!(
            "aim: attach at most {AIM_FLOOR:.1} x the floor: {floors:.2} x, {}",
            met(floors <= AIM_FLOOR)
        ),
        format!(
            "aim: attach at least {AIM_SCRIPT:.1} x faster than the script: {faster:.2} x, {}",
            met(faster >= AIM_SCRIPT)
        ),
    ]
}

fn today() -> Result<String> {
    let output = Command::new("date").args(["-u", "+%F"]).output()?;
    ensure!(output.status.success(), "`date` failed: {}", output.status);
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
