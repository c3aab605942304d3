//! Many published ports without many commands: what netcord made of one port, repeated.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Result, ensure};

use crate::process::{run_with, words};

/// Where netcord keeps its records.
const RECORDS: &str = "/run/netcord";

/// Makes the rules of more ports, after the model of one that netcord published.
pub(super) fn rule(model: u16, ports: &[u16]) -> Result<()> {
    let model = model.to_string();
    let there = words("iptables-save -t nat")?;
    let rules: Vec<_> = there.lines().filter(|line| line.contains(&model)).collect();
    ensure!(!rules.is_empty(), "netcord made no rule for port {model}");
    let more: String = ports
        .iter()
        .flat_map(|port| rules.iter().map(|rule| rule.replace(&model, &port.to_string()) + "\n"))
        .collect();
    let restore = format!("*nat\n{more}COMMIT\n");
    run_with(Command::new("iptables-restore").arg("--noflush"), &restore).map(drop)
}

/// Writes more ports into the record, after the model of one that netcord published.
pub(super) fn record(model: u16, ports: &[u16]) -> Result<()> {
    let model = model.to_string();
    let mut changed = false;
    for file in records()? {
        let text = fs::read_to_string(&file)?;
        if let Some(text) = repeated(&text, &model, ports) {
            fs::write(&file, text)?;
            changed = true;
        }
    }
    ensure!(changed, "netcord has no record of port {model}");
    Ok(())
}

/// Repeats the JSON object of the model. The rest stays as netcord writes it: a line in another form is
/// read in another way.
fn repeated(text: &str, model: &str, ports: &[u16]) -> Option<String> {
    let at = text.find(&format!("\"host\":{{\"first\":{model},"))?;
    let start = text[..at].rfind('{')?;
    let last_field = at + text[at..].find("\"chosen\":")?;
    let end = last_field + text[last_field..].find('}')? + 1;
    let object = &text[start..end];
    let more = ports.iter().map(|port| format!(",{}", object.replace(model, &port.to_string())));
    Some(format!("{}{}{}", &text[..end], more.collect::<String>(), &text[end..]))
}

fn records() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for host in fs::read_dir(RECORDS)? {
        for file in fs::read_dir(host?.path())? {
            files.push(file?.path());
        }
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    Ok(files)
}
