//! The verb `peers`: its flags, its help, and what it prints.

use anyhow::Result;
use clap_complete::ArgValueCompleter;

use crate::{
    cli::complete,
    model::LinkName,
    ops::{
        Session,
        peers::{self, Following, Listed, Reach, Reached, Relay, State},
    },
    output::{Output, Row},
};

/// List the hosts of an overlay network
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  netcord peers pods\n  netcord peers pods --check\n  netcord --format json peers pods"
)]
pub(crate) struct Args {
    /// The network
    #[arg(add = ArgValueCompleter::new(complete::networks))]
    network: LinkName,
    /// Send echo requests to the other hosts and through the network, small ones and as large as its
    /// MTU; exit code 1 if a host does not answer
    #[arg(long)]
    check: bool,
}

impl Args {
    pub(super) async fn run(self, session: &Session<'_>, output: &Output) -> Result<u8> {
        let request = peers::Peers { network: self.network, check: self.check };
        let peers = peers::peers(session, &request).await?;
        let lacks = |listed: &Listed| {
            listed.state != State::Ok || listed.reach.is_some_and(|r| r.reach != Reach::Answers)
        };
        let code = u8::from(self.check && peers.iter().any(lacks));
        let rows: Vec<_> = peers.into_iter().map(row).collect();
        output.list(&["HOST", "SUBNET", "BACKEND", "VIA", "STATE"], &[], &rows).map(|()| code)
    }
}

fn row(listed: Listed) -> Row<Listed> {
    let joined = |parts: Vec<String>| parts.join(",");
    let via = if listed.is_self {
        "this host".to_owned()
    } else {
        joined(listed.via.iter().map(ToString::to_string).collect())
    };
    let cells = vec![
        listed.host.to_string(),
        match listed.endpoints {
            Some(1) => "1 address".to_owned(),
            Some(count) => format!("{count} addresses"),
            None => joined(listed.subnets.iter().map(ToString::to_string).collect()),
        },
        listed.backend.as_str().to_owned(),
        via,
        state(&listed),
    ];
    Row { cells, object: listed, docker: Vec::new() }
}

/// Describes the state of a host; of this one in a network with a store, also its lease.
fn state(listed: &Listed) -> String {
    let own = listed.state.as_str();
    let reach = match listed.reach {
        None => String::new(),
        Some(Reached { reach, milliseconds }) => match (reach, milliseconds) {
            (Reach::Answers, Some(time)) => format!(", {time} ms"),
            (Reach::Answers, None) => String::new(),
            (Reach::SmallOnly, _) => ", large packets are lost".to_owned(),
            (Reach::Filtered, _) => ", filtered on the way".to_owned(),
            (Reach::Silent, _) => ", no answer".to_owned(),
        },
    };
    let relay = listed.relay.as_ref().map_or_else(String::new, relay);
    let lease = match &listed.store {
        None => return format!("{own}{reach}{relay}"),
        Some(Following::DoesNotRun) => "netcord-agent does not run".to_owned(),
        Some(Following::DoesNotFollow) => "not followed".to_owned(),
        Some(Following::Follows(member)) => match member.lease {
            _ if member.reserved => "joined, reserved".to_owned(),
            None => "joined, no lease".to_owned(),
            Some(left) => {
                let (hours, minutes, seconds) = (left / 3600, left / 60 % 60, left % 60);
                format!("joined, lease {hours}:{minutes:02}:{seconds:02}")
            }
        },
    };
    match listed.state {
        State::Ok => format!("{lease}{relay}"),
        State::Incomplete | State::Unreachable => format!("{own}, {lease}{relay}"),
    }
}

/// Describes the relay of this host, if there is something to say.
fn relay(relay: &Relay) -> String {
    match relay {
        Relay { runs: false, problem: Some(problem), .. } => format!(", no relay: {problem}"),
        Relay { runs: false, .. } => ", no relay".to_owned(),
        Relay { problem: Some(problem), .. } => format!(", relay: {problem}"),
        Relay { uses: Some(uses), .. } => {
            uses.lacks().map_or_else(String::new, |lacks| format!(", relay: {lacks}"))
        }
        Relay { .. } => String::new(),
    }
}
