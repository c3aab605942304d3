//! Many published ports without many commands: what netcord made of one port, repeated.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

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
        if !text.contains(&model) {
            continue;
        }
        let mut record: Value = serde_json::from_str(&text)
            .with_context(|| format!("{} is no JSON", file.display()))?;
        changed |= element(&mut record, &model, ports)?;
        fs::write(&file, serde_json::to_vec(&record)?)?;
    }
    ensure!(changed, "netcord has no record of port {model}");
    Ok(())
}

/// Repeats the innermost element of an array that tells of the model.
fn element(value: &mut Value, model: &str, ports: &[u16]) -> Result<bool> {
    match value {
        Value::Array(all) => {
            for inner in all.iter_mut() {
                if element(inner, model, ports)? {
                    return Ok(true);
                }
            }
            let Some(found) = all.iter().map(Value::to_string).find(|text| text.contains(model))
            else {
                return Ok(false);
            };
            for port in ports {
                all.push(serde_json::from_str(&found.replace(model, &port.to_string()))?);
            }
            Ok(true)
        }
        Value::Object(fields) => {
            for inner in fields.values_mut() {
                if element(inner, model, ports)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        _ => Ok(false),
    }
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
