//! iptables and ip6tables: one listing a table, then one `iptables-restore --noflush` for all that
//! is missing. One process a rule would take 2 ms for an addition and 15 ms for a deletion.
//!
//! A rule is identified by its comment. Whether its text was changed is decided by its options, not by
//! how this version of iptables prints them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs::File,
    io::Write as _,
    os::unix::process::CommandExt,
    path::Path,
    process::Stdio,
};

#[expect(clippy::disallowed_types, reason = "kernel runs programs")]
use std::process::Command;

use anyhow::{Context, Result, anyhow};
use ipnetwork::IpNetwork;
use iptables::IPTables;

use super::{Outcome, Published, not_permitted};
use crate::{
    error::{Error, Kind},
    model::{Family, Firewall, PublishedPort, ruleset::words},
    plan::{self, ALIAS_PREFIX, Chain, Change, Resource, Rule, Table, comes_first, quote},
};

/// The time to wait for other programs that change rules.
const LOCK_PATIENCE_SECONDS: &str = "30";

/// Makes changes, all or none.
pub(super) fn apply(changes: &[&Change], lock: &File) -> Result<Vec<Outcome>> {
    let mut outcomes = vec![Outcome::Unchanged; changes.len()];
    for family in Family::BOTH {
        let of_family: Vec<_> =
            (0..changes.len()).filter(|i| family_of(changes[*i]) == Some(family)).collect();
        if of_family.is_empty() {
            continue;
        }
        let these: Vec<_> = of_family.iter().map(|i| changes[*i]).collect();
        match apply_family(family, &these, lock) {
            Ok(done) => {
                for (i, outcome) in of_family.into_iter().zip(done) {
                    outcomes[i] = outcome;
                }
            }
            Err(error) => {
                undo(&outcomes, lock);
                return Err(error);
            }
        }
    }
    Ok(outcomes)
}

/// Undoes one family's changes after the other family's failed.
fn undo(outcomes: &[Outcome], lock: &File) {
    let inverses: Vec<_> = outcomes.iter().rev().filter_map(Outcome::inverse).collect();
    if let Some(family) = inverses.first().and_then(|c| family_of(c)) {
        // The first error is the one to report.
        drop(apply_family(family, &inverses, lock));
    }
}

fn family_of(change: &Change) -> Option<Family> {
    change.facts().firewall()?.family
}

/// Makes the changes of one family, all or none.
fn apply_family(family: Family, changes: &[&Change], lock: &File) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::with_capacity(changes.len());
    if let Err(error) = attempt(family, changes, lock, &mut outcomes) {
        // Tables are committed one by one, so some may have been changed.
        let inverses: Vec<_> = outcomes.iter().rev().filter_map(Outcome::inverse).collect();
        if !inverses.is_empty() {
            // The first error is the one to report.
            drop(attempt(family, &inverses, lock, &mut Vec::new()));
        }
        return Err(error);
    }
    Ok(outcomes)
}

/// Determines the outcome of each change before any is made.
fn attempt(
    family: Family,
    changes: &[&Change],
    lock: &File,
    outcomes: &mut Vec<Outcome>,
) -> Result<()> {
    let programs = Programs::of(family)?;
    let mut present = BTreeMap::new();
    for change in changes {
        if let Some(table) = table_of(change)
            && !present.contains_key(&table)
        {
            present.insert(table, Present::read(&programs, table)?);
        }
    }
    let mut lines: BTreeMap<Table, String> = BTreeMap::new();
    for (table, present) in &mut present {
        lines.insert(*table, present.empty_chains(changes));
    }
    for change in changes {
        let line = table_of(change).and_then(|table| {
            let line = present.get_mut(&table)?.missing(change)?;
            Some((table, line))
        });
        outcomes.push(match line {
            Some((table, Line { text, mends })) => {
                lines.entry(table).or_default().push_str(&text);
                if mends { Outcome::Mended } else { Outcome::done(change) }
            }
            None => Outcome::Unchanged,
        });
    }
    lines.retain(|_, lines| !lines.is_empty());
    if !lines.is_empty() {
        let deleting = matches!(changes.first(), Some(Change::Delete(_)));
        programs.restore(&script(lines, deleting), lock)?;
    }
    Ok(())
}

/// Returns the published ports among our rules in a table `nat`.
pub(super) fn published(nat: &Present) -> Vec<Published> {
    let of_rule = |((_, comment), copies): (&(String, String), &Vec<String>)| {
        let (owner, port) = comment.strip_prefix(ALIAS_PREFIX)?.split_once(" publish ")?;
        let port: PublishedPort = port.parse().ok()?;
        let Resource::Rule(rule) = plan::port(Firewall::Iptables, owner, &port) else {
            return None;
        };
        let changed = copies.iter().find(|there| !is_as(&rule, there)).cloned();
        Some(Published { owner: owner.to_owned(), port, changed })
    };
    nat.rules.iter().filter_map(of_rule).collect()
}

/// Returns a whole table, as the commands that would make it.
pub(super) fn list(family: Family, table: Table) -> Result<String> {
    Programs::of(family)?.list(table)
}

fn table_of(change: &Change) -> Option<Table> {
    match change.resource() {
        Some(Resource::Chain(chain)) => Some(chain.table),
        Some(Resource::Rule(rule)) => Some(rule.table),
        _ => None,
    }
}

/// Tables are committed one by one: drops before accepts and translations, and in the other order
/// when they are deleted.
fn script(lines: BTreeMap<Table, String>, deleting: bool) -> String {
    let mut tables: Vec<_> = lines
        .into_iter()
        .map(|(table, lines)| format!("*{}\n{lines}COMMIT\n", table.name()))
        .collect();
    if deleting {
        tables.reverse();
    }
    tables.concat()
}

/// Our chains and rules in one table.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Present {
    chains: BTreeSet<String>,
    /// The text of each copy of each rule, by chain and comment. Restoring saved rules over existing
    /// ones (`iptables-restore --noflush`) duplicates them.
    rules: BTreeMap<(String, String), Vec<String>>,
    /// Rules that have to come first in their chain, but come after another.
    behind: BTreeSet<(String, String)>,
    /// Rules of other programs in our chains, as text.
    strangers: BTreeMap<String, Vec<String>>,
    /// Chains that are emptied at once.
    emptied: BTreeSet<String>,
}

/// A line for iptables-restore that makes a change.
struct Line {
    text: String,
    /// Whether it repairs an existing object.
    mends: bool,
}

impl Line {
    fn new(text: String) -> Self {
        Self { text, mends: false }
    }
}

impl Present {
    fn read(programs: &Programs, table: Table) -> Result<Self> {
        Ok(Self::parse(programs.list(table)?.lines()))
    }

    /// Parses a listed table.
    pub(super) fn parse<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        let mut present = Self::default();
        // Chains in which a rule was read that does not have to come first.
        let mut begun = BTreeSet::new();
        for line in lines {
            let mut words = line.splitn(3, ' ');
            match (words.next(), words.next(), words.next()) {
                (Some("-N"), Some(chain), _) => {
                    present.chains.insert(chain.to_owned());
                }
                (Some("-A"), Some(chain), Some(rest)) => {
                    if let Some(comment) = comment(rest) {
                        let rule = (chain.to_owned(), comment);
                        if !comes_first(&rule.1) {
                            begun.insert(chain);
                        } else if begun.contains(chain) {
                            present.behind.insert(rule.clone());
                        }
                        present.rules.entry(rule).or_default().push(rest.to_owned());
                    } else if chain.starts_with("NETCORD-") {
                        let strangers = present.strangers.entry(chain.to_owned()).or_default();
                        strangers.push(rest.to_owned());
                    }
                }
                _ => {}
            }
        }
        present
    }

    /// Returns whether one of our chains exists.
    pub(super) fn has_chain(&self) -> bool {
        self.chains.iter().any(|chain| chain.starts_with("NETCORD-"))
    }

    /// Returns how a chain or rule of ours differs from the plan, a line for each difference.
    pub(super) fn damage(&self, resource: &Resource) -> Vec<String> {
        match resource {
            Resource::Chain(Chain { family, table, name }) => {
                let at = format!("{} -t {}", family.program(), table.name());
                if !self.chains.contains(*name) {
                    return vec![format!("not there: {at} -N {name}")];
                }
                let strangers = self.strangers.get(*name).into_iter().flatten();
                strangers.map(|rule| format!("not netcord's: {at} -A {name} {rule}")).collect()
            }
            Resource::Rule(rule) => {
                let at = format!("{} -t {}", rule.family.program(), rule.table.name());
                let what = match self.copies(rule) {
                    [] => "not there".to_owned(),
                    [there] if !is_as(rule, there) => {
                        return vec![format!("changed: {at} -A {} {there}", rule.chain)];
                    }
                    [_] if self.behind.contains(&known(rule)) => "behind others".to_owned(),
                    [_] => return Vec::new(),
                    copies => format!("there {} times", copies.len()),
                };
                vec![format!("{what}: {at} {}", rule_line(&rule.addition(), rule).trim_end())]
            }
            _ => Vec::new(),
        }
    }

    fn copies(&self, rule: &Rule) -> &[String] {
        self.rules.get(&known(rule)).map(Vec::as_slice).unwrap_or_default()
    }

    /// Empties chains that are to be deleted before anything else, as they may refer to each other.
    fn empty_chains(&mut self, changes: &[&Change]) -> String {
        let mut lines = String::new();
        for change in changes {
            if let Change::Delete(Resource::Chain(chain)) = change
                && self.chains.contains(chain.name)
            {
                self.emptied.insert(chain.name.to_owned());
                // Writing to a String cannot fail.
                let _ = writeln!(lines, "-F {}", chain.name);
            }
        }
        lines
    }

    /// Returns the line for a change that has something to do, and updates this state as if it were
    /// made.
    fn missing(&mut self, change: &Change) -> Option<Line> {
        match change {
            Change::Create(Resource::Chain(Chain { name, .. })) => {
                if self.chains.insert((*name).to_owned()) {
                    return Some(Line::new(format!("-N {name}\n")));
                }
                // Nobody else has a reason to write to our chains: an accept before our rules would
                // open everything.
                let strangers = self.strangers.remove(*name)?;
                let mut text = String::new();
                for rule in strangers {
                    // Writing to a String cannot fail.
                    let _ = writeln!(text, "-D {name} {rule}");
                }
                Some(Line { text, mends: true })
            }
            Change::Delete(Resource::Chain(chain)) => {
                let name = chain.name;
                self.chains.remove(name).then(|| Line::new(format!("-X {name}\n")))
            }
            Change::Create(Resource::Rule(rule)) => {
                let own = vec![rule_line("", rule).trim().to_owned()];
                let copies = self.rules.insert(known(rule), own).unwrap_or_default();
                let is_behind = self.behind.remove(&known(rule));
                if let [there] = copies.as_slice()
                    && is_as(rule, there)
                    && !is_behind
                {
                    return None;
                }
                // Of several copies, none need be in the right place.
                let text = deletions(rule, &copies) + &rule_line(&rule.addition(), rule);
                Some(Line { text, mends: !copies.is_empty() })
            }
            Change::Delete(Resource::Rule(rule)) => {
                let copies = self.rules.remove(&known(rule))?;
                let is_gone = self.emptied.contains(rule.chain);
                Some(Line::new(if is_gone { String::new() } else { deletions(rule, &copies) }))
            }
            _ => None,
        }
    }
}

/// The identity of a rule of ours.
fn known(rule: &Rule) -> (String, String) {
    (rule.chain.to_owned(), rule.comment.clone())
}

/// Returns the lines that delete copies of a rule, each by its own text.
fn deletions(rule: &Rule, copies: &[String]) -> String {
    copies
        .iter()
        .fold(String::new(), |lines, there| lines + &format!("-D {} {there}\n", rule.chain))
}

/// Returns whether a listed rule equals ours, whatever iptables adds to it and in which order.
fn is_as(rule: &Rule, listed: &str) -> bool {
    let own: Vec<_> = rule.arguments().collect();
    Said::of(own.iter().map(String::as_str)) == Said::of(words(listed).into_iter())
}

/// The options of a rule, each with its values and whether it is negated.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said<'a>(BTreeMap<(&'a str, bool), BTreeSet<String>>);

impl<'a> Said<'a> {
    fn of(words: impl Iterator<Item = &'a str>) -> Self {
        let mut said = Self::default();
        let (mut values, mut not, mut is_skipped): (Option<&mut BTreeSet<_>>, _, _) =
            (None, false, false);
        for word in words {
            if is_skipped {
                is_skipped = false;
            } else if word == "!" {
                not = true;
            } else if matches!(word, "-m" | "--comment") {
                // A match is described by its options, and a comment changes nothing.
                is_skipped = true;
            } else if word.starts_with('-') {
                values = Some(said.0.entry((word, not)).or_default());
                not = false;
            } else if let Some(values) = &mut values {
                values.extend(word.split(',').map(in_full));
            }
        }
        said
    }
}

/// Adds the prefix length to an address, as iptables does; returns other values unchanged.
fn in_full(value: &str) -> String {
    match value.parse::<IpNetwork>() {
        Ok(network) => network.to_string(),
        Err(_) => value.to_owned(),
    }
}

fn rule_line(operation: &str, rule: &Rule) -> String {
    let mut line = operation.to_owned();
    for word in rule.arguments() {
        // iptables-restore understands double quotes only; names contain neither quotes nor
        // backslashes.
        let word = if quote(&word) == word { word } else { format!("\"{word}\"") };
        // Writing to a String cannot fail.
        let _ = write!(line, " {word}");
    }
    line.push('\n');
    line
}

/// The comment of a listed rule, if it is one of ours.
fn comment(rule: &str) -> Option<String> {
    let (_, rest) = rule.split_once("--comment ")?;
    let comment = match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next()?,
        None => rest.split(' ').next()?,
    };
    comment.starts_with("netcord:").then(|| comment.to_owned())
}

/// The programs of one family.
struct Programs {
    tables: IPTables,
    restore: &'static str,
}

/// The paths of Debian, Fedora, Alpine, Arch, and of `make install`. The caller's PATH does not
/// count.
const IPV4: [(&str, &str); 4] = [
    ("/usr/sbin/iptables", "/usr/sbin/iptables-restore"),
    ("/sbin/iptables", "/sbin/iptables-restore"),
    ("/usr/bin/iptables", "/usr/bin/iptables-restore"),
    ("/usr/local/sbin/iptables", "/usr/local/sbin/iptables-restore"),
];
const IPV6: [(&str, &str); 4] = [
    ("/usr/sbin/ip6tables", "/usr/sbin/ip6tables-restore"),
    ("/sbin/ip6tables", "/sbin/ip6tables-restore"),
    ("/usr/bin/ip6tables", "/usr/bin/ip6tables-restore"),
    ("/usr/local/sbin/ip6tables", "/usr/local/sbin/ip6tables-restore"),
];

impl Programs {
    fn of(family: Family) -> Result<Self> {
        let name = family.program();
        let places = match family {
            Family::V4 => IPV4,
            Family::V6 => IPV6,
        };
        let (cmd, restore) =
            places.into_iter().find(|(cmd, _)| Path::new(cmd).exists()).ok_or_else(|| {
                Error::new(Kind::Missing, format!("{name} is not installed"))
                    .hint("install the package `iptables`, or use `netcord --firewall nftables`")
            })?;
        // All versions since 2013 support `--check` and `--wait`.
        let tables = IPTables { cmd, has_check: true, has_wait: true, is_numeric: false };
        Ok(Self { tables, restore })
    }

    /// Returns a whole table, as commands.
    fn list(&self, table: Table) -> Result<String> {
        // `list_table` would treat a failure as an empty table.
        let output = self.tables.execute(table.name(), "-S").map_err(|e| anyhow!("{e}"))?;
        if !output.status.success() {
            let told = String::from_utf8_lossy(&output.stderr);
            return Err(failure(&told, &format!("cannot list table {}", table.name())));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn restore(&self, script: &str, lock: &File) -> Result<()> {
        #[expect(clippy::disallowed_types, reason = "kernel runs programs")]
        let mut child = Command::new(self.restore)
            .args(["--noflush", "--wait", LOCK_PATIENCE_SECONDS])
            .env_clear()
            .env("LC_ALL", "C")
            // Ctrl-C must reach only this process, which rolls back.
            .process_group(0)
            .stdin(Stdio::piped())
            // The program prints nothing to this file. It keeps the lock held until it has ended,
            // even if this process is killed.
            .stdout(lock.try_clone().context("cannot share the lock")?)
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", self.restore))?;
        let written =
            child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(script.as_bytes()));
        let output = child
            .wait_with_output()
            .with_context(|| format!("cannot wait for {}", self.restore))?;
        if output.status.success() {
            // With incomplete input it would do nothing, and report success.
            return written.with_context(|| format!("cannot tell {} what to do", self.restore));
        }
        let told = String::from_utf8_lossy(&output.stderr);
        Err(failure(&told, &format!("{} failed", self.restore)))
    }
}

/// Returns an error of the right kind with iptables' own message.
fn failure(told: &str, what: &str) -> anyhow::Error {
    let told = told.trim();
    let words: Vec<_> = told.split_whitespace().collect();
    let kind = match told {
        t if t.contains("Permission denied") || t.contains("Operation not permitted") => {
            Kind::Permission
        }
        t if t.contains("does not exist")
            || t.contains("not supported")
            || t.contains("missing kernel module") =>
        {
            Kind::Missing
        }
        _ => Kind::Failed,
    };
    let what = format!("{what}: {}", words.join(" "));
    match kind {
        Kind::Permission => not_permitted(&what),
        Kind::Missing => Error::new(kind, what).hint(
            "load the kernel's netfilter modules: `modprobe -a nf_tables nft_compat xt_comment`",
        ),
        _ => Error::new(kind, what),
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_are_known_by_their_comments() {
        let listed = [
            "-P PREROUTING ACCEPT",
            "-N DOCKER",
            "-N NETCORD-DNAT",
            "-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
            r#"-A NETCORD-DNAT -p tcp -m comment --comment "netcord:lab0/web publish x" -j DNAT"#,
            "-A POSTROUTING -m comment --comment netcord:lab0 -j ACCEPT",
            r#"-A POSTROUTING -m comment --comment "somebody's" -j ACCEPT"#,
        ];
        let present = Present::parse(listed.into_iter());
        assert!(present.chains.contains("NETCORD-DNAT"));
        let rules: Vec<_> = present.rules.keys().map(|(c, r)| (c.as_str(), r.as_str())).collect();
        assert_eq!(
            rules,
            [("NETCORD-DNAT", "netcord:lab0/web publish x"), ("POSTROUTING", "netcord:lab0")]
        );
    }

    #[test]
    fn a_rule_is_known_again_as_iptables_lists_it_and_not_when_it_was_changed() {
        let port = "127.0.0.1:8080 -> 172.20.0.2:80/tcp".parse().unwrap();
        let Resource::Rule(dnat) = plan::port(Firewall::Iptables, "lab0/web", &port) else {
            panic!("a rule")
        };
        let listed = "-d 127.0.0.1/32 -p tcp -m tcp --dport 8080 -m comment --comment \"netcord:\
                      lab0/web publish 127.0.0.1:8080 -> 172.20.0.2:80/tcp\" -j DNAT \
                      --to-destination 172.20.0.2:80";
        assert!(is_as(&dnat, listed));
        for (from, to) in [
            ("172.20.0.2:80", "172.20.0.9:80"),
            ("--dport 8080", "--dport 8081"),
            ("--dport 8080", "! --dport 8080"),
            ("-d 127.0.0.1/32 ", ""),
            ("-d 127.0.0.1/32", "-d 127.0.0.1/32 -i eth0"),
            ("-j DNAT --to-destination 172.20.0.2:80", "-j ACCEPT"),
        ] {
            let (head, mark) = listed.split_once(" -m comment").unwrap();
            let (comment, jump) = mark.split_once(" -j").unwrap();
            let changed = format!(
                "{} -m comment{comment} {}",
                head.replace(from, to),
                format!("-j{jump}").replace(from, to)
            );
            assert!(!is_as(&dnat, &changed), "{changed}");
        }
    }

    #[test]
    fn what_denies_is_committed_first_and_goes_last() {
        let lines =
            || BTreeMap::from([(Table::Nat, "n\n".to_owned()), (Table::Raw, "r\n".to_owned())]);
        assert_eq!(script(lines(), false), "*raw\nr\nCOMMIT\n*nat\nn\nCOMMIT\n");
        assert_eq!(script(lines(), true), "*nat\nn\nCOMMIT\n*raw\nr\nCOMMIT\n");
    }
}
