//! The results for people: on a terminal, or as a part of `bench/RESULTS.md` with its picture.

use std::{fmt::Write as _, time::Duration};

use anyhow::Result;
use comfy_table::{Table, TableStyle, presets};

use crate::{
    backends::Backend,
    chart::{self, Axis, Panel},
    growth::Point,
    machine,
    measure::Series,
    results,
    throughput::Throughput,
};

/// All that was measured in one run.
pub(crate) struct Results {
    /// How often.
    pub(crate) repeats: u16,
    /// By the number of other hosts.
    pub(crate) points: Vec<Point>,
    /// By backend.
    pub(crate) throughputs: Vec<Throughput>,
    /// Next to each other.
    pub(crate) backends: Vec<Backend>,
}

/// Joining takes at most so long beyond reading the keys, by the number of other hosts.
const JOIN_MAX: [(u16, f64); 2] = [(1000, 1.0), (5000, 4.0)];
const CHANGE_MAX: Duration = Duration::from_millis(5);
const MEMORY_MAX_KIB: u64 = 40 << 10;
/// The least share of the throughput of the same network made by hand.
const THROUGHPUT_MIN: f64 = 0.97;
/// The least speed of the UDP backend, in that of a relay of one packet a call, and of VXLAN.
const UDP_MIN: [f64; 2] = [10.0, 0.8];

const GROWTH: &str = "A host joins a network of N others whose keys are in etcd: `netcord overlay \
    --store`, until its routes, neighbours and FDB entries are all in the kernel, and `etcdctl get` \
    of the same keys; milliseconds, medians. A change is one more host: the time from etcd's answer \
    to the writer of its key until its route is in the kernel, median of 20 (90 of 100 within). \
    Requests to etcd are those of a join, and of all 20 changes. Memory is the agent's at the end \
    (and at most).";
const THROUGHPUT: &str = "One TCP connection between endpoints on two hosts, in turns with the same \
    network made with `ip` and `bridge` on two other hosts of the wire; Gbit/s, medians, and the \
    median of the ratios. Without offload, the hosts' own links take one segment at a time \
    (`gso_max_segs 1`).";

const BACKENDS: &str = "Endpoints on two hosts, each backend with two hosts of its own, made by \
    hand, in turns; without offload. Gbit/s of one and of eight TCP connections and of UDP datagrams \
    of 1200 bytes that arrive; seconds of all processors for a gigabyte in one connection; the \
    round trip of a byte in UDP in microseconds, and what it is longer than with host-gw. \
    *udp* is netcord's relay; *one packet a call* has the same wire format, and a system call for \
    each packet, as flannel's.";

/// Plain text.
pub(crate) fn text(results: &Results) -> String {
    let [growth, speed] = tables(results, presets::NOTHING);
    let mut text = format!("Growth\n\n{growth}\n\nThroughput\n\n{speed}\n\n");
    for line in aims(results) {
        _ = writeln!(text, "aim: {line}");
    }
    text + "\n" + &backends_text(&results.backends)
}

/// Plain text of the backends.
pub(crate) fn backends_text(backends: &[Backend]) -> String {
    let mut text = format!("Backends\n\n{}\n\n", backends_table(backends, presets::NOTHING));
    for line in backend_aims(backends) {
        _ = writeln!(text, "aim: {line}");
    }
    text
}

/// Writes its part of `bench/RESULTS.md`, and the picture.
pub(crate) fn write(measured: &Results) -> Result<()> {
    let [growth, speed] = tables(measured, presets::ASCII_MARKDOWN);
    let mut text = format!(
        "# What an overlay network costs\n\n\
         Written by `./x bench overlay --write` on {} Each size and each throughput was measured {} \
         times.\n\n## Aims of the overlay\n\n",
        machine::sentences(&["etcd-server", "iproute2"])?,
        measured.repeats
    );
    for line in aims(measured).into_iter().chain(backend_aims(&measured.backends)) {
        _ = writeln!(text, "* {line}");
    }
    _ = write!(
        text,
        "\n## N other hosts\n\n{GROWTH}\n\n{growth}\n\n![The curve](overlay.svg)\n\n\
         ## Throughput\n\n{THROUGHPUT}\n\n{speed}\n\n\
         ## Backends\n\n{BACKENDS}\n\n{}\n",
        backends_table(&measured.backends, presets::ASCII_MARKDOWN)
    );
    results::put_part(&text)?;
    results::put("overlay.svg", &chart::svg(&[panel(&measured.points)]))
}

fn tables(results: &Results, style: TableStyle) -> [String; 2] {
    let mut growth = Table::new();
    let header = ["N", "JOIN", "KEYS", "PEERS", "CHANGE", "REQUESTS", "MEMORY MIB"];
    growth.load_style(style).set_header(header);
    for point in &results.points {
        let [memory, peak] = point.memory.map(|kib| kib.div_ceil(1024));
        growth.add_row([
            point.hosts.to_string(),
            milliseconds(point.join.median()),
            milliseconds(point.reading.median()),
            milliseconds(point.peers.median()),
            format!(
                "{} ({})",
                milliseconds(point.change.median()),
                milliseconds(point.change.percentile(90))
            ),
            format!("{}, {}", point.requests, point.change_requests),
            format!("{memory} ({peak})"),
        ]);
    }
    let mut speed = Table::new();
    let header = ["BACKEND", "OFFLOAD", "NETCORD", "BY HAND", "RATIO"];
    speed.load_style(style).set_header(header);
    for Throughput { backend, offload, gbits, ratio } in &results.throughputs {
        let [own, hand] = gbits.map(|gbits| format!("{gbits:.2}"));
        let offload = if *offload { "on" } else { "off" };
        speed.add_row([
            (*backend).to_owned(),
            offload.to_owned(),
            own,
            hand,
            format!("{ratio:.3}"),
        ]);
    }
    [growth.trim_fmt(), speed.trim_fmt()]
}

fn backends_table(backends: &[Backend], style: TableStyle) -> String {
    let mut table = Table::new();
    let header = ["BACKEND", "TCP", "TCP x 8", "UDP", "CPU S/GB", "ROUND TRIP", "ADDED"];
    table.load_style(style).set_header(header);
    let least = backends.first().map_or(0.0, |first| first.round_trip);
    for Backend { name, gbits, cpu, round_trip } in backends {
        let [one, eight, udp] = gbits.map(|gbits| format!("{gbits:.2}"));
        let times = [*round_trip, round_trip - least].map(|time| format!("{time:.0}"));
        let [time, added] = times;
        table.add_row([(*name).to_owned(), one, eight, udp, format!("{cpu:.2}"), time, added]);
    }
    table.trim_fmt()
}

fn backend_aims(backends: &[Backend]) -> Vec<String> {
    let [_, vxlan, udp, one_packet] = backends else { return Vec::new() };
    let mut lines = Vec::new();
    for (other, least) in [one_packet, vxlan].into_iter().zip(UDP_MIN) {
        for (connections, at) in [("one connection", 0), ("eight connections", 1)] {
            let ratio = udp.gbits[at] / other.gbits[at];
            let met = if ratio >= least { "met" } else { "NOT met" };
            lines.push(format!(
                "throughput of udp, {connections}: at least {least} x that of {}: {ratio:.2} x, {met}",
                other.name
            ));
        }
    }
    lines
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1e3)
}

fn aims(results: &Results) -> Vec<String> {
    let mut lines = Vec::new();
    let line = |what: String, met: bool| format!("{what}, {}", if met { "met" } else { "NOT met" });
    for (hosts, most) in JOIN_MAX {
        if let Some(point) = results.points.iter().find(|point| point.hosts == hosts) {
            let beyond = seconds(&point.join) - seconds(&point.reading);
            let what = "join beyond reading the keys";
            lines.push(line(
                format!("{what}, {hosts} hosts: at most {most:.1} s: {beyond:.2} s"),
                beyond <= most,
            ));
        }
    }
    for point in &results.points {
        let (hosts, change) = (point.hosts, point.change.median());
        lines.push(line(
            format!(
                "one change, {hosts} hosts: at most {} ms: {} ms",
                CHANGE_MAX.as_millis(),
                milliseconds(change)
            ),
            change <= CHANGE_MAX,
        ));
    }
    if let Some(point) = results.points.last() {
        let [memory, _] = point.memory;
        lines.push(line(
            format!(
                "memory of the agent, {} hosts: at most {} MiB: {} MiB",
                point.hosts,
                MEMORY_MAX_KIB >> 10,
                memory.div_ceil(1024)
            ),
            memory <= MEMORY_MAX_KIB,
        ));
        let first = results.points.first().map_or(0, |first| first.requests);
        lines.push(line(
            format!("requests to etcd for a join: as many with {} hosts as with 2", point.hosts),
            point.requests == first,
        ));
    }
    for Throughput { backend, offload, ratio, .. } in &results.throughputs {
        let offload = if *offload { "with" } else { "without" };
        lines.push(line(
            format!(
                "throughput of {backend} {offload} offload: at least {THROUGHPUT_MIN} x of that by \
                 hand: {ratio:.3} x"
            ),
            *ratio >= THROUGHPUT_MIN,
        ));
    }
    lines
}

fn seconds(series: &Series) -> f64 {
    series.median().as_secs_f64()
}

fn panel(points: &[Point]) -> Panel {
    let curve = |name, series: fn(&Point) -> &Series| {
        (
            String::from(name),
            points.iter().map(|point| (point.hosts, seconds(series(point)) * 1e3)).collect(),
        )
    };
    let claim = points.last().map(|point| {
        let (hosts, join) = (f64::from(point.hosts), seconds(&point.join));
        format!("A host joins {} others in {join:.1} s", chart::grouped(hosts))
    });
    Panel {
        claim: claim.unwrap_or_default(),
        measured: "An overlay network of N other hosts, whose keys are in etcd",
        x: Axis {
            label: "other hosts",
            logarithmic: true,
            ticks: points.iter().map(|point| point.hosts).collect(),
        },
        y_label: "milliseconds",
        curves: vec![
            curve("netcord overlay", |point| &point.join),
            curve("reading the keys", |point| &point.reading),
            curve("peers", |point| &point.peers),
        ],
    }
}
