//! What the tools print, in a form in which equal states are equal lines: without indexes, counters,
//! timers and what was learned.

/// Words of `ip -d link` that are not the same again, each with the value behind it.
const VOLATILE: [&str; 28] = [
    "qdisc",
    "qlen",
    "state",
    "numtxqueues",
    // How the process that has a TUN link open reads it.
    "vnet_hdr",
    "numrxqueues",
    "gso_max_size",
    "gso_max_segs",
    "tso_max_size",
    "tso_max_segs",
    "gro_max_size",
    "gso_ipv4_max_size",
    "gro_ipv4_max_size",
    "hello_timer",
    "tcn_timer",
    "topology_change_timer",
    "gc_timer",
    "topology_change",
    "topology_change_detected",
    "designated_cost",
    "root_cost",
    "message_age_timer",
    "forward_delay_timer",
    "hold_timer",
    "port_id",
    "port_no",
    "designated_port",
    "link-netnsid",
];

/// The lines of a part as they are compared, sorted, each behind the name of its part.
pub(super) fn of(part: &str, text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| !line.is_empty());
    let lines: Vec<String> = match part {
        "ip" => return of_ip(lines),
        "fdb" => lines.filter(|l| is_fixed(l)).map(words).collect(),
        "nft" => rules(text),
        "iptables-save" | "ip6tables-save" => saved(lines),
        // The kernel turns it with forwarding, which stays on by promise.
        "sysctl" => lines
            .filter(|l| !l.starts_with("./ipv4/conf/all/accept_redirects:"))
            .map(str::to_owned)
            .collect(),
        _ if part.starts_with("in ") => {
            lines.filter(|l| !is_of_the_kernel(l)).map(inside).collect()
        }
        _ => lines.map(|l| l.trim_end().to_owned()).collect(),
    };
    named(part, lines)
}

fn named(part: &str, mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines.iter().map(|line| format!("{part} {line}")).collect()
}

/// What one `ip -batch` prints: links, addresses, routes, rules and neighbours.
fn of_ip<'t>(lines: impl Iterator<Item = &'t str>) -> Vec<String> {
    let mut found: Vec<_> =
        lines.filter_map(one_of_ip).map(|(part, line)| format!("{part} {line}")).collect();
    found.sort();
    found
}

fn one_of_ip(line: &str) -> Option<(&'static str, String)> {
    let numbered = line.split_once(':').filter(|(n, _)| n.bytes().all(|b| b.is_ascii_digit()));
    Some(match numbered.map(|(_, rest)| rest) {
        Some(rest) if rest.starts_with('\t') => ("rule", line.trim_end().to_owned()),
        Some(rest) if rest.starts_with(' ') && rest.contains(": <") => ("link", link(line)),
        // Link-local addresses come and go with carrier.
        Some(rest) if rest.contains(" inet6 fe80:") => return None,
        Some(rest) if rest.starts_with(' ') => ("addr", address(line)),
        _ if line.trim_end().ends_with(" PERMANENT") => ("neigh", words(line)),
        _ if is_of_the_kernel(line) => return None,
        _ => ("route", route(line)),
    })
}

fn words(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Without words, each with the value behind it.
fn without(line: &str, left_out: &[&str]) -> String {
    let mut words = Vec::new();
    let mut all = line.split_whitespace();
    while let Some(word) = all.next() {
        if left_out.contains(&word) {
            all.next();
        } else {
            words.push(word);
        }
    }
    words.join(" ")
}

/// `3: eth0@if2: <...>` without the index and that of the peer.
fn without_index(line: &str) -> String {
    let line = line.split_once(": ").map_or(line, |(_, rest)| rest);
    match line.split_once("@if") {
        Some((name, rest)) => {
            format!("{name}{}", rest.trim_start_matches(|c: char| c.is_ascii_digit()))
        }
        None => line.to_owned(),
    }
}

fn link(line: &str) -> String {
    let line = without_index(line).replace("NO-CARRIER,", "").replace(",LOWER_UP", "");
    // Where the peer's namespace has no name its number stands, which is not the same again.
    without(&line.replace("link-netnsid ", "link-netns link-netnsid "), &VOLATILE)
}

fn address(line: &str) -> String {
    let line = without_index(line);
    words(line.split("valid_lft").next().unwrap_or_default())
}

fn is_of_the_kernel(route: &str) -> bool {
    let route = route.strip_prefix("unicast ").unwrap_or(route);
    ["local", "multicast", "anycast", "broadcast", "fe80:"].iter().any(|w| route.starts_with(w))
}

fn route(line: &str) -> String {
    without(&line.replace(" linkdown", ""), &["expires"])
}

/// A forwarding entry that was not learned. Groups of solicited nodes come and go with addresses, and
/// that of all routers with forwarding, which stays on by promise.
fn is_fixed(entry: &str) -> bool {
    let is_group = ["33:33:ff", "33:33:00:00:00:02 "].iter().any(|group| entry.starts_with(group));
    (entry.contains("static") || entry.contains("permanent")) && !is_group
}

/// A line about a link, an address or a route in a namespace.
fn inside(line: &str) -> String {
    let is_numbered = line.starts_with(|c: char| c.is_ascii_digit())
        && line.split_once(": ").is_some_and(|(n, _)| n.bytes().all(|b| b.is_ascii_digit()));
    if !is_numbered {
        return words(&line.replace(" linkdown", ""));
    }
    let line = without_index(line).replace("NO-CARRIER,", "").replace(",LOWER_UP", "");
    let line = line.split("valid_lft").next().unwrap_or_default().replace(" tentative", "");
    without(&line, &["qdisc", "qlen", "state", "link-netnsid"])
}

/// The tables of nftables' own family `inet`; those of iptables are read by its own program. Rules
/// stand in their order, which the number tells; elements of a map come in any.
fn rules(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let (mut is_own, mut name, mut number) = (false, String::new(), 0);
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let mut line = line.to_owned();
        // A long list goes on in the next line.
        while line.ends_with(',')
            && let Some(more) = lines.next()
        {
            line = format!("{line} {}", more.trim_start());
        }
        if let Some(table) = line.strip_prefix("table ") {
            is_own = table.starts_with("inet ");
            (name, number) = (String::new(), 0);
        }
        let trimmed = line.trim();
        if !is_own || trimmed.is_empty() || trimmed == "}" {
            continue;
        }
        if line.starts_with("\tset ") || line.starts_with("\tmap ") || line.starts_with("\tchain ")
        {
            name = trimmed.split(' ').take(2).collect::<Vec<_>>().join(" ");
            number = 0;
        }
        if let Some((_, elements)) = trimmed.split_once("elements = { ") {
            let elements = elements.trim_end_matches(['}', ' ']);
            found.extend(elements.split(", ").map(|element| format!("{name} {}", words(element))));
        } else {
            number += 1;
            found.push(format!("{name} {number} {}", without_counter(trimmed)));
        }
    }
    found
}

/// `counter packets N bytes N` without the numbers.
fn without_counter(rule: &str) -> String {
    let rule = words(rule);
    match rule.split_once("counter packets ") {
        Some((before, counted)) => {
            let after = counted.split(' ').skip(3).collect::<Vec<_>>().join(" ");
            format!("{before}{after}")
        }
        None => rule,
    }
}

/// Rules of iptables, each with its table. A base chain that iptables made and that holds nothing
/// is none.
fn saved<'t>(lines: impl Iterator<Item = &'t str>) -> Vec<String> {
    let (mut table, mut found) = ("", Vec::new());
    for line in lines {
        match line.as_bytes().first() {
            Some(b'*') => table = line,
            Some(b':') if line.contains(" ACCEPT") => {}
            // A chain's counters.
            Some(b':') => {
                found.push(format!("{table} {}", line.split(" [").next().unwrap_or_default()));
            }
            Some(b'-') => found.push(format!("{table} {line}")),
            _ => {}
        }
    }
    found
}
