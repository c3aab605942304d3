//! The command line: verbs, flags, help. No behaviour.
//!
//! Words and flags are docker's where the meaning is docker's. What is here is a contract: it only
//! ever gains.

use std::{env, ffi::OsString, net::IpAddr, path::PathBuf};

use clap::{
    Args, CommandFactory, Parser, Subcommand, ValueEnum, ValueHint,
    builder::{PossibleValuesParser, TypedValueParser},
    error::{ContextKind, ContextValue},
};
use clap_complete::{ArgValueCompleter, Shell};
use ipnetwork::IpNetwork;

use crate::{
    complete,
    model::{
        self, EndpointId, Flag, Flags, Invalid, LinkName, Mac, NetnsName, PortSpec, Protocol,
        Target, steers, visible,
        way::{Goal, Party},
    },
};

/// Connect anything that has a Linux network namespace
///
/// netcord is a `docker network` for containers that were started with --network=none, for
/// processes and for namespaces made with `ip netns`. Every command does the steps that you would do
/// by hand with ip, nft and sysctl, can be repeated, and rolls back if it fails. There is no daemon.
#[derive(Debug, Parser)]
#[command(name = "netcord", version, max_term_width = 100, disable_help_subcommand = true, after_long_help = AFTER_HELP)]
pub struct Cli {
    /// Flags of all verbs
    #[command(flatten)]
    pub global: Global,
    /// The verb
    #[command(subcommand)]
    pub verb: Verb,
}

const AFTER_HELP: &str = "\
A TARGET is a process ID (1310, pid:1310), a name in /run/netns (web, netns:web), a container of a \
running docker or podman (web, docker:web, podman:web), or a namespace file (/proc/1310/ns/net, \
path:FILE).

Exit codes: 0 done, or nothing to do; 1 failed; 2 usage; 3 not found; 4 conflict; 5 permission; \
6 kernel feature or helper program missing; 7 timeout; 8 rollback incomplete; with `-- CMD` the \
exit code of CMD, or 125, 126, 127 as in docker; 130 and 143 interrupted, after rolling back.

Environment: DOCKER_HOST and CONTAINER_HOST (unix:// only) give the sockets of docker and podman; \
NO_COLOR turns colour off; NETCORD_STATE_DIR is the directory of the records [default: \
/run/netcord].

Files: /run/netcord/BOOT-HOST/ has the records of a host, /run/netns the names of namespaces.";

/// Flags of all verbs.
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Print the steps as a shell script, and change nothing
    #[arg(long, global = true)]
    pub dry_run: bool,
    /// Print each step and its reason on stderr as it is done
    #[arg(long, global = true)]
    pub explain: bool,
    /// Firewall for the rules; rules that are in the other firewall are moved
    #[arg(
        long,
        global = true,
        value_name = "FIREWALL",
        default_value = "auto",
        hide_default_value = true
    )]
    pub firewall: FirewallChoice,
    /// How to print results
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "table",
        hide_default_value = true,
        value_parser = among(&[Format::Table, Format::Json, Format::Jsonl])
    )]
    pub format: Format,
    /// When to use colour
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true
    )]
    pub color: Color,
    /// Print only errors, and no progress; ls and ps print only names
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Print each command on stderr as it is run
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

/// Which of the kernel's firewalls to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FirewallChoice {
    /// The firewall of this host's networks; for the first network nftables, if the kernel has it
    Auto,
    /// A table of netcord's own, made by netlink without a helper program
    Nftables,
    /// Chains of netcord's own, made with the program iptables
    Iptables,
}

/// How to print results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table, or a line, for reading
    Table,
    /// One JSON value
    Json,
    /// One JSON object per line
    Jsonl,
    /// A tree
    Text,
    /// For Graphviz
    Dot,
    /// For Markdown viewers
    Mermaid,
    /// A drawing, for browsers and documents
    Svg,
}

/// A verb's choice of formats.
fn among(formats: &[Format]) -> impl TypedValueParser<Value = Format> + use<> {
    let names = formats.iter().filter_map(ValueEnum::to_possible_value);
    PossibleValuesParser::new(names).try_map(|name| Format::from_str(&name, false))
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Ensure a namespace that has only lo, and print its path
    #[command(
        after_help = "Examples:\n  netcord none web\n  netcord none web -- httpd -f\n  netcord none web --of 1310"
    )]
    None(None),
    /// Print the path of the host's namespace, or run a command in it
    Host(Host),
    /// Print the path of a target's namespace, or run a command in it
    #[command(
        after_help = "Examples:\n  netcord container web\n  netcord container 1310 -- ip addr"
    )]
    Container(Container),
    /// Run a command in a namespace of its own, attached to a network
    #[command(
        after_help = "This is `docker run` for a program of this host, with the host's files and users. The namespace is attached before the command starts. Signals are passed on to the command, and netcord exits with its exit code. Everything is removed when the command ends, even if netcord is killed. Background processes that the command leaves keep running, without a network.\n\nNETWORK is a network's name, none (only lo), host (the host's own namespace), or container:TARGET (a target's namespace).\n\nExamples:\n  netcord run -- ip addr\n  netcord run --network lab0 -p 8080:80 -- python3 -m http.server 80\n  netcord run --network lab0 --ip 10.7.0.9 --name web -- sh\n  netcord run --network container:web -- ss -tlnp"
    )]
    Run(Run),
    /// Ensure a bridge network
    #[command(
        after_help = "Examples:\n  netcord bridge lab0\n  netcord bridge lab0 --subnet 10.9.0.0/24 --ipv6\n  netcord bridge back --internal"
    )]
    Bridge(Bridge),
    /// Ensure a network that bridges the host's uplink: endpoints join the physical network
    #[command(
        after_help = "The link becomes a port of the bridge. Its addresses, routes, policy rules and neighbour entries move to the bridge, and `rm` moves them back. On a terminal, or with --confirm, the move is undone unless you run `netcord confirm` in time.\n\nExamples:\n  netcord underlay mydr0 --parent eth0 --ip-range 192.168.1.64/27 --takeover\n  netcord confirm mydr0\n  netcord attach mydr0 web"
    )]
    Underlay(Underlay),
    /// Confirm an underlay network, so that it is not undone
    Confirm(Confirm),
    /// Ensure a macvlan network: endpoints join the physical network on a host link
    #[command(
        after_help = "Without --subnet, subnets and gateways are those of the parent. --ip-range limits which addresses netcord may assign; before it assigns one, it checks with ARP or NDP that the address is free. The host and the endpoints reach each other only with --host-access.\n\nExamples:\n  netcord macvlan lan0 --parent eth0 --ip-range 192.168.1.192/27\n  netcord macvlan lan0 --parent eth0 --host-access\n  netcord macvlan dmz0 --parent eth0.100 --subnet 10.9.0.0/24 --gateway 10.9.0.254"
    )]
    Macvlan(Macvlan),
    /// Ensure a network, with the syntax of `docker network create`
    #[command(
        after_help = "Examples:\n  netcord create lab0\n  netcord create -d macvlan lan0 --parent eth0 --ip-range 192.168.1.192/27"
    )]
    Create(Create),
    /// Attach targets to a network
    #[command(
        visible_alias = "connect",
        after_help = "Examples:\n  netcord attach lab0 1310\n  netcord attach docker0 1310 --ip 172.17.0.10/16 --gateway 172.17.0.1\n  netcord attach lab0 web -p 8080:80\n  netcord attach br0 web --dhcp"
    )]
    Attach(Attach),
    /// Detach targets from a network
    #[command(visible_alias = "disconnect")]
    Detach(Detach),
    /// Wait until a target's network can be used
    #[command(
        after_help = "One link must meet the condition, and all conditions before it:\n  up       a link other than lo is up\n  carrier  it has carrier\n  addr     it has a usable address (not tentative)\n  route    a default route uses it\n\nThe target need not exist yet. Prints the link's addresses, or its name if it has none yet. Exit code 7 means that the time ran out.\n\nExamples:\n  netcord wait web && curl http://$(netcord wait web)\n  netcord wait 1310 --for route --timeout 5\n  netcord wait host --for route"
    )]
    Wait(Wait),
    /// Publish ports of a target on the host
    #[command(
        after_help = "PORT is [HOSTIP:][HOSTPORT[-END]:]PORT[-END][/tcp|udp|sctp], as for `docker run -p`.\n\nExamples:\n  netcord publish web 8080:80\n  netcord publish web 127.0.0.1:5353:53/udp 9000-9010:9000-9010"
    )]
    Publish(Publish),
    /// Unpublish ports of a target
    Unpublish(Unpublish),
    /// List a target's published ports
    Port(Port),
    /// List networks
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// List endpoints
    Ps(Ps),
    /// Show networks and targets as JSON
    Inspect(Inspect),
    /// Draw the host's network: bridges, ports, endpoints, addresses, published ports
    #[command(
        after_help = "The picture shows the kernel's state, so it includes bridges, veth pairs and containers that netcord did not make. Each line of a network is an endpoint: the host end, the namespace, the link inside, addresses, MAC, gateway, published ports. A namespace is shown by its name in /run/netns, its container, or a process in it. Reading other namespaces needs root.\n\nExamples:\n  netcord graph\n  netcord graph lab0 web\n  netcord graph --format svg > host.svg\n  netcord graph --format dot | dot -Tpdf > host.pdf"
    )]
    Graph(Graph),
    /// Find out why packets do not flow, and how to fix it
    #[command(
        after_help = "Checks the host, its networks and all endpoints, or only one network or target: links and carrier, addresses, routes, MTUs, MACs, forwarding, firewalls (also those of other programs), reverse path filters, published ports, names, resolvers, connection tracking, and other programs that manage the links. It also checks targets that netcord did not attach and bridges that it did not make. It changes nothing.\n\nEach finding has its evidence, in the kernel's notation, and a command that fixes it, for you to judge and copy. On a healthy host nothing is printed; -v lists what was checked. Checks that lack a privilege are reported.\n\nExit codes: 0 nothing found; 1 something found.\n\nExamples:\n  netcord doctor\n  netcord doctor web\n  netcord doctor docker0\n  netcord doctor --format json | jq -r '.findings[].command'"
    )]
    Doctor(Doctor),
    /// Restore what the records describe, after a flush, a reload or a manual change
    #[command(
        after_help = "Makes networks, endpoints, names, published ports and their rules again where they are missing or changed. Endpoints whose namespace is gone are not restored; `prune` removes them.\n\nExamples:\n  netcord repair --check\n  iptables -F; netcord repair"
    )]
    Repair(Repair),
    /// Print this host's networks as a script of netcord commands
    #[command(
        after_help = "The script makes the networks, names, endpoints and published ports again, with the same addresses, MACs and ports. Containers are named as in their engine. PIDs do not survive a reboot, so targets attached by PID are printed as comments.\n\nExamples:\n  netcord export > /etc/netcord.sh\n  sh /etc/netcord.sh"
    )]
    Export,
    /// Trace a packet's path hop by hop, with the rules that match it and where it is dropped
    #[command(
        after_help = "FROM and TO are targets, `host`, or addresses. If no link of this host has the address FROM, the packet arrives on the link that routes to it. Without a port the packet is an ICMP echo request.\n\nThe path is computed from the kernel's state: route lookups inside the namespaces, neighbour entries and who would answer ARP or NDP, bridge ports and forwarding tables (FDB), nftables rules of all families, and iptables, ebtables and arptables rules if they use the nf_tables backend. It is the path of the first packet of a new flow and of its reply; nothing is sent. Parts that cannot be judged are named: tc filters other than classic BPF, XDP programs, legacy iptables, rules that depend on things unknown before the packet is sent.\n\nWith --live netcord sends a real packet, or waits for one, and shows the kernel's own trace of it (nftrace): `iptables -j TRACE` writes the same to a log, but not for other namespaces. Only this flow is traced. The kernel removes the trace table when netcord ends, even if it is killed.\n\nExit codes: 0 the packet arrives or leaves the machine, and its reply comes back; 1 it does not; 9 it passes something that could not be judged, so the result is unknown.\n\nExamples:\n  netcord trace web db\n  netcord trace web 192.0.2.9:53/udp\n  netcord trace 192.0.2.9 host:8080\n  netcord trace --live web db:5432\n  netcord trace --live --wait 192.0.2.9 host:8080"
    )]
    Trace(Trace),
    /// Remove networks without endpoints
    #[command(visible_alias = "remove")]
    Rm(Rm),
    /// Remove leftovers: stale names, leases, rules, half-made links
    Prune,
    /// Remove everything that netcord made on this host, and nothing else
    #[command(
        after_help = "Removes endpoints, networks, names, published ports, rules in both firewalls and records; also links and rules that carry netcord's mark but have no record. The addresses and routes of an underlay network move back to its parent. Namespaces and bridges that netcord did not make stay, and so do processes: a process in a namespace made by `none` keeps the namespace, without its name.\n\nOn a terminal --yes is required; without it netcord prints what it would remove.\n\nExamples:\n  netcord --dry-run reset\n  netcord reset --yes"
    )]
    Reset(Reset),
    /// Open a throwaway host: a shell or a command where every verb works without root
    #[command(
        after_help = "The lab has new user, mount, PID and network namespaces and a private /run. All of it is gone at exit. The shell has its own home directory, so it neither reads nor writes files in yours, and its prompt shows the host.\n\nWith --hosts, the network `wire` (10.0.0.0/24) connects the lab, which has 10.0.0.1, with host1, host2 and so on, which have the next addresses. Each host has its own links, addresses, routes, firewall and netcord networks; all share the names in /run/netns.\n\nExamples:\n  netcord lab\n  netcord lab --hosts 3\n  netcord container host2 -- bash\n  netcord lab -- sh examples/null-mode.sh"
    )]
    Lab(Lab),
    /// Print a shell's completion script
    #[command(
        after_help = "Examples:\n  netcord completions bash > /etc/bash_completion.d/netcord\n  source <(netcord completions zsh)"
    )]
    Completions(Completions),
    /// Print the manual page, or write one page per verb
    Man(Man),
    /// Undo an underlay network unless it is confirmed (internal)
    #[command(hide = true)]
    Watchdog(Watchdog),
    /// Clean up after a run that was killed (internal)
    #[command(hide = true)]
    Attendant(Attendant),
    /// Renew an endpoint's DHCP lease (internal)
    #[command(hide = true)]
    KeepLease(KeepLease),
}

/// A command after `--`.
#[derive(Args, Debug)]
pub struct CommandLine {
    /// A command to run, and its arguments
    #[arg(last = true, value_name = "CMD", value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
}

/// `none`
#[derive(Args, Debug)]
pub struct None {
    /// The namespace's name in /run/netns
    #[arg(value_name = "NAME", value_parser = new_netns)]
    pub name: NetnsName,
    /// Name a running target's namespace, and configure nothing else
    #[arg(long, value_name = "TARGET", conflicts_with = "command", add = ArgValueCompleter::new(complete::targets))]
    pub of: Option<Target>,
    /// A command
    #[command(flatten)]
    pub command: CommandLine,
}

/// `host`
#[derive(Args, Debug)]
pub struct Host {
    /// A command
    #[command(flatten)]
    pub command: CommandLine,
}

/// `container`
#[derive(Args, Debug)]
pub struct Container {
    /// The target that has the namespace
    #[arg(add = ArgValueCompleter::new(complete::targets))]
    pub target: Target,
    /// A command
    #[command(flatten)]
    pub command: CommandLine,
}

/// `run`
#[derive(Args, Debug)]
pub struct Run {
    /// The network that the command is attached to
    #[arg(long, visible_alias = "net", value_name = "NETWORK", default_value = "none", add = ArgValueCompleter::new(complete::networks))]
    pub network: RunNetwork,
    /// How it is attached
    #[command(flatten)]
    pub wiring: Wiring,
    /// Wait on this file descriptor, then become the command (internal)
    #[arg(long, hide = true)]
    pub gate: Option<i32>,
    /// The command, and its arguments
    #[arg(last = true, required = true, value_name = "CMD", value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
}

/// What a command that is run is attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunNetwork {
    /// Nothing: a namespace with a running lo.
    None,
    /// The host's own namespace.
    Host,
    /// The namespace of a target.
    Container(Target),
    /// A network, by an endpoint of its own.
    Network(LinkName),
}

/// `attendant`
#[derive(Args, Debug)]
pub struct Attendant {
    /// The command's process
    pub pid: u32,
    /// When it was started
    pub started: u64,
    /// Its namespace
    pub cookie: u64,
}

/// `bridge`
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Bridge {
    /// The network's name, which is the bridge's: 15 bytes at most
    #[arg(value_name = "NETWORK", value_parser = new_network)]
    pub name: LinkName,
    /// A subnet; at most one per IP family [default: the lowest free one of docker's pools]
    #[arg(long, value_name = "CIDR")]
    pub subnet: Vec<Cidr>,
    /// The bridge's address, which is the endpoints' gateway [default: the first of the subnet]
    #[arg(long, value_name = "IP")]
    pub gateway: Vec<IpAddr>,
    /// Assign addresses only from this part of the subnet
    #[arg(long, value_name = "CIDR")]
    pub ip_range: Vec<Cidr>,
    /// The MTU in bytes [default: that of the link with the host's default route]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(68..=65535))]
    pub mtu: Option<u32>,
    /// Add an IPv6 subnet [default: a /64 of this host's unique local (ULA) prefix]
    #[arg(long)]
    pub ipv6: bool,
    /// Endpoints reach nothing outside the network
    #[arg(long)]
    pub internal: bool,
    /// Endpoints do not reach each other, only the host, the outside and published ports
    #[arg(long)]
    pub isolate: bool,
    /// Drop frames with a source MAC or IP address that is not the endpoint's own, and messages of
    /// routers and DHCP servers
    #[arg(long)]
    pub no_spoof: bool,
    /// Do not translate source addresses (no SNAT) of packets that leave the network
    #[arg(long)]
    pub no_masquerade: bool,
    /// Metadata to store with the network
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub label: Vec<(String, String)>,
}

impl Bridge {
    /// The flags that were given.
    pub fn flags(&self) -> Flags {
        Flags::of(|flag| match flag {
            Flag::Internal => self.internal,
            Flag::Isolate => self.isolate,
            Flag::NoMasquerade => self.no_masquerade,
            Flag::NoSpoof => self.no_spoof,
        })
    }
}

/// `macvlan`
#[derive(Args, Debug)]
pub struct Macvlan {
    /// The network's name: 15 bytes at most
    #[arg(value_name = "NETWORK", value_parser = new_network)]
    pub name: LinkName,
    /// The host's link that endpoints use; a VLAN link (eth0.100) is made if it is missing
    #[arg(long, value_name = "LINK")]
    pub parent: LinkName,
    /// Which endpoints reach each other
    #[arg(long, value_name = "MODE", default_value = "bridge")]
    pub mode: MacvlanMode,
    /// A subnet; at most one per IP family [default: those of the parent's addresses]
    #[arg(long, value_name = "CIDR")]
    pub subnet: Vec<Cidr>,
    /// The physical network's router [default: that of the host's default route on the parent]
    #[arg(long, value_name = "IP")]
    pub gateway: Vec<IpAddr>,
    /// Assign addresses only from this range of the physical network [default: every free address]
    #[arg(long, value_name = "CIDR")]
    pub ip_range: Vec<Cidr>,
    /// The MTU in bytes, at most the parent's [default: the parent's]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(68..=65535))]
    pub mtu: Option<u32>,
    /// Let the host and the endpoints reach each other, through a macvlan for the host
    #[arg(long)]
    pub host_access: bool,
    /// Metadata to store with the network
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub label: Vec<(String, String)>,
}

/// `underlay`
#[derive(Args, Debug)]
pub struct Underlay {
    /// The network's name, which is the bridge's: 15 bytes at most
    #[arg(value_name = "NETWORK", value_parser = new_network)]
    pub name: LinkName,
    /// The host's link that becomes a port of the bridge
    #[arg(long, value_name = "LINK")]
    pub parent: LinkName,
    /// Assign addresses only from this range of the physical network [default: every free address]
    #[arg(long, value_name = "CIDR")]
    pub ip_range: Vec<Cidr>,
    /// The endpoints' gateway [default: the host's on that link]
    #[arg(long, value_name = "IP")]
    pub gateway: Vec<IpAddr>,
    /// When the move is kept
    #[command(flatten)]
    pub takeover: Takeover,
    /// Endpoints do not reach each other, only the host and the outside
    #[arg(long)]
    pub isolate: bool,
    /// Drop frames with a source MAC or IP address that is not the endpoint's own
    #[arg(long)]
    pub no_spoof: bool,
    /// Metadata to store with the network
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub label: Vec<(String, String)>,
}

impl Underlay {
    /// The flags that were given.
    pub fn flags(&self) -> Flags {
        Flags::of(|flag| match flag {
            Flag::Isolate => self.isolate,
            Flag::NoSpoof => self.no_spoof,
            Flag::Internal | Flag::NoMasquerade => false,
        })
    }
}

/// Which endpoints of a macvlan network reach each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MacvlanMode {
    /// All, directly
    Bridge,
    /// None
    Private,
    /// All, through an external switch that reflects frames (hairpin)
    Vepa,
    /// Only one endpoint, which has the parent for itself
    Passthru,
}

impl From<MacvlanMode> for model::MacvlanMode {
    fn from(mode: MacvlanMode) -> Self {
        match mode {
            MacvlanMode::Bridge => Self::Bridge,
            MacvlanMode::Private => Self::Private,
            MacvlanMode::Vepa => Self::Vepa,
            MacvlanMode::Passthru => Self::Passthru,
        }
    }
}

/// When a link may be taken over, and when that is kept.
#[derive(Args, Debug)]
pub struct Takeover {
    /// Undo the move unless `netcord confirm` is run within this time [default: 60 on a terminal]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86400))]
    pub confirm: Option<u32>,
    /// Keep the move without confirmation, for scripts
    #[arg(long, conflicts_with = "confirm")]
    pub no_confirm: bool,
    /// Allow a link that the host is reached through, or that has its default route
    #[arg(long)]
    pub takeover: bool,
}

/// `confirm`
#[derive(Args, Debug)]
pub struct Confirm {
    /// The network [default: all that wait for confirmation]
    #[arg(value_name = "NETWORK", add = ArgValueCompleter::new(complete::networks))]
    pub name: Option<LinkName>,
}

/// `watchdog`
#[derive(Args, Debug)]
pub struct Watchdog {
    /// The network
    pub name: LinkName,
    /// Whose terminal hears of it
    #[arg(long, value_name = "FILE")]
    pub terminal: Option<PathBuf>,
}

/// `create`
#[derive(Args, Debug)]
pub struct Create {
    /// The driver of the network
    #[arg(short, long, value_name = "DRIVER", default_value = "bridge")]
    pub driver: Driver,
    /// As of `bridge`
    #[command(flatten)]
    pub bridge: Bridge,
    /// As of the verbs of other drivers
    #[command(flatten)]
    pub physical: Physical,
}

/// Flags of drivers with a parent.
#[derive(Args, Debug)]
pub struct Physical {
    /// underlay, macvlan: the host's link that leads to the physical network
    #[arg(long, value_name = "LINK")]
    pub parent: Option<LinkName>,
    /// macvlan: which endpoints reach each other [default: bridge]
    #[arg(long, value_name = "MODE")]
    pub mode: Option<MacvlanMode>,
    /// macvlan: let the host and the endpoints reach each other
    #[arg(long)]
    pub host_access: bool,
    /// underlay: when the move is kept
    #[command(flatten)]
    pub takeover: Takeover,
}

/// How a network is wired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Driver {
    /// A Linux bridge with the gateway's address on it
    Bridge,
    /// A Linux bridge with the host's uplink as a port
    Underlay,
    /// macvlan links on a link of the host
    Macvlan,
}

/// `attach`
#[derive(Args, Debug)]
pub struct Attach {
    /// The network: one of netcord's, or any bridge of this host
    #[arg(add = ArgValueCompleter::new(complete::networks))]
    pub network: LinkName,
    /// The targets to attach
    #[arg(value_name = "TARGET", required = true, add = ArgValueCompleter::new(complete::targets))]
    pub targets: Vec<Target>,
    /// How they are attached
    #[command(flatten)]
    pub wiring: Wiring,
    /// Wait for the targets to appear, at most this long
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "30")]
    pub wait: Option<u64>,
}

/// How an endpoint is wired.
#[derive(Args, Debug)]
pub struct Wiring {
    /// An address; at most one per IP family [default: the lowest free one]
    #[arg(long, value_name = "IP[/LEN]")]
    pub ip: Vec<Address>,
    /// Lease the IPv4 address from the network's DHCP server, and keep renewing it
    #[arg(long)]
    pub dhcp: bool,
    /// The default route's gateway, or `none` [default: the network's, if there is no default route yet]
    #[arg(long, value_name = "IP|none")]
    pub gateway: Vec<Gateway>,
    /// The inner link's MAC address [default: 02:42 followed by the IPv4 address]
    #[arg(long)]
    pub mac: Option<Mac>,
    /// The inner link's name [default: the next free ethN]
    #[arg(long, value_name = "NAME")]
    pub ifname: Option<LinkName>,
    /// The host end's name [default: nc and a hash]
    #[arg(long, value_name = "NAME")]
    pub host_ifname: Option<LinkName>,
    /// The MTU of both links in bytes [default: the bridge's]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(68..=65535))]
    pub mtu: Option<u32>,
    /// An additional route inside the target
    #[arg(long, value_name = "DST[,GATEWAY]")]
    pub route: Vec<RouteSpec>,
    /// Publish a port, as with `publish`
    #[arg(short, long, value_name = "PORT")]
    pub publish: Vec<PortSpec>,
    /// The target's name in /run/netns [default: the PID, or the container's name]
    #[arg(long, value_name = "NAME", value_parser = new_netns)]
    pub name: Option<NetnsName>,
}

/// `detach`
#[derive(Args, Debug)]
pub struct Detach {
    /// The network
    #[arg(add = ArgValueCompleter::new(complete::networks))]
    pub network: LinkName,
    /// The targets to detach
    #[arg(value_name = "TARGET", required = true, add = ArgValueCompleter::new(complete::targets))]
    pub targets: Vec<Target>,
    /// Only the endpoint with this inner link
    #[arg(long, value_name = "NAME")]
    pub ifname: Option<LinkName>,
}

/// `wait`
#[derive(Args, Debug)]
pub struct Wait {
    /// The target to wait for; `host` is this host's own network
    #[arg(add = ArgValueCompleter::new(complete::targets))]
    pub target: Target,
    /// The condition to wait for
    #[arg(long = "for", value_name = "CONDITION", default_value = "addr")]
    pub condition: Condition,
    /// How long to wait at most; 0 checks once
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = clap::value_parser!(u64).range(..=31_536_000))]
    pub timeout: u64,
}

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Condition {
    /// A link other than lo is up
    Up,
    /// And it has carrier
    Carrier,
    /// And it has a usable address (not tentative)
    Addr,
    /// And a default route uses it
    Route,
}

/// `publish`
#[derive(Args, Debug)]
pub struct Publish {
    /// The target that has the ports
    #[arg(add = ArgValueCompleter::new(complete::targets))]
    pub target: Target,
    /// The ports to publish
    #[arg(value_name = "PORT", required = true)]
    pub ports: Vec<PortSpec>,
}

/// `unpublish`
#[derive(Args, Debug)]
pub struct Unpublish {
    /// The target that has the ports
    #[arg(add = ArgValueCompleter::new(complete::targets))]
    pub target: Target,
    /// The ports, written as they were published
    #[arg(value_name = "PORT", required_unless_present = "all")]
    pub ports: Vec<PortSpec>,
    /// All ports of the target
    #[arg(long, conflicts_with = "ports")]
    pub all: bool,
}

/// `port`
#[derive(Args, Debug)]
pub struct Port {
    /// The target that has the ports
    #[arg(add = ArgValueCompleter::new(complete::targets))]
    pub target: Target,
    /// Only this port of the target
    #[arg(value_name = "PORT[/PROTO]")]
    pub port: Option<InnerPort>,
}

/// `ls`
#[derive(Args, Debug)]
pub struct Ls {
    /// Only networks that match: name=NAME, mode=MODE, label=KEY[=VALUE]
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub filter: Vec<(String, String)>,
}

/// `ps`
#[derive(Args, Debug)]
pub struct Ps {
    /// Only endpoints of this network
    #[arg(add = ArgValueCompleter::new(complete::networks))]
    pub network: Option<LinkName>,
}

/// `inspect`
#[derive(Args, Debug)]
pub struct Inspect {
    /// Networks and targets [default: everything on this host]
    #[arg(value_name = "NETWORK|TARGET", add = ArgValueCompleter::new(complete::networks_and_targets))]
    pub names: Vec<String>,
    /// Print the commands that would make it manually
    #[arg(long)]
    pub commands: bool,
}

/// `graph`
#[derive(Args, Debug)]
pub struct Graph {
    /// Only these networks and targets [default: everything on this host]
    #[arg(value_name = "NETWORK|TARGET", add = ArgValueCompleter::new(complete::networks_and_targets))]
    pub names: Vec<String>,
    // The global flag with other values.
    /// The output format
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "text",
        value_parser = among(&[Format::Text, Format::Dot, Format::Mermaid, Format::Svg, Format::Json])
    )]
    pub format: Format,
}

/// `doctor`
#[derive(Args, Debug)]
pub struct Doctor {
    /// Check only this network or target [default: everything on this host]
    #[arg(value_name = "TARGET|NETWORK", add = ArgValueCompleter::new(complete::networks_and_targets))]
    pub name: Option<String>,
}

/// `trace`
#[derive(Args, Debug)]
pub struct Trace {
    /// The sender
    #[arg(value_name = "FROM", add = ArgValueCompleter::new(complete::targets))]
    pub from: Party,
    /// The destination
    #[arg(value_name = "TO[:PORT[/PROTO]]", add = ArgValueCompleter::new(complete::targets))]
    pub to: Goal,
    /// Send a real packet from FROM and trace it
    #[arg(long)]
    pub live: bool,
    /// Wait for a matching packet instead of sending one
    #[arg(long, requires = "live")]
    pub wait: bool,
    /// How long to wait for the packet or its reply [default: 3, or 60 with --wait]
    #[arg(long, value_name = "SECONDS", requires = "live", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: Option<u64>,
}

/// `rm`
#[derive(Args, Debug)]
pub struct Rm {
    /// Networks, or namespaces made by `none`; network:NAME or netns:NAME if both have the name
    #[arg(value_name = "NETWORK", required = true, add = ArgValueCompleter::new(complete::networks))]
    pub names: Vec<Removable>,
}

/// What is to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removable {
    /// `web`: whichever there is.
    Any(NetnsName),
    /// `network:web`
    Network(LinkName),
    /// `netns:web`
    Netns(NetnsName),
}

/// `reset`
#[derive(Args, Debug)]
pub struct Reset {
    /// Remove without asking, also on a terminal
    #[arg(short, long)]
    pub yes: bool,
}

/// `repair`
#[derive(Args, Debug)]
pub struct Repair {
    /// Only list the differences, one per line, and change nothing; exit code 1 if there is any
    #[arg(long)]
    pub check: bool,
}

/// `lab`
#[derive(Args, Debug)]
pub struct Lab {
    /// Add this many hosts, host1 and so on, on one network
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=250))]
    pub hosts: Option<u8>,
    /// Become the first process (internal)
    #[arg(long, hide = true)]
    pub first_process: bool,
    /// A command
    #[command(flatten)]
    pub command: CommandLine,
}

/// `completions`
#[derive(Args, Debug)]
pub struct Completions {
    /// The shell
    pub shell: Shell,
}

/// `man`
#[derive(Args, Debug)]
pub struct Man {
    /// Write netcord.1 and one page per verb into this directory
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
}

/// `keep-lease`
#[derive(Args, Debug)]
pub struct KeepLease {
    /// The network
    pub network: LinkName,
    /// What identifies the endpoint
    pub endpoint: EndpointId,
}

impl Cli {
    /// A command line of these words, with netcord's name left out.
    pub fn of(words: &[&str]) -> Result<Self, clap::Error> {
        Self::try_parse_from(["netcord"].iter().chain(words))
    }
}

/// The command line that netcord was called with; help and clap's own errors end the program.
///
/// # Errors
/// If the verb is none.
pub fn parse() -> Result<Cli, Invalid> {
    Cli::try_parse().or_else(|error| match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(word)) => Err(no_verb(word)),
        _ => shown(error).exit(),
    })
}

/// clap repeats what was typed as it is; here in a form that a terminal only shows.
fn shown(mut error: clap::Error) -> clap::Error {
    if !env::args_os().any(|word| word.to_string_lossy().contains(steers)) {
        return error;
    }
    let plain = |text: &str| visible(text).into_owned();
    let repeated: Vec<_> = error
        .context()
        .filter_map(|(kind, value)| match value {
            ContextValue::String(text) => Some((kind, ContextValue::String(plain(text)))),
            ContextValue::Strings(texts) => {
                Some((kind, ContextValue::Strings(texts.iter().map(|t| plain(t)).collect())))
            }
            // Without its colours, which cannot be told from what was typed.
            ContextValue::StyledStrs(texts) => {
                let plain = texts.iter().map(|text| plain(&text.to_string()).into()).collect();
                Some((kind, ContextValue::StyledStrs(plain)))
            }
            _ => None,
        })
        .collect();
    for (kind, value) in repeated {
        error.insert(kind, value);
    }
    error
}

/// Other programs' words for what some verb does, and which that is.
const OTHER_WORDS: [(&[&str], &str); 13] = [
    (
        &["add", "new", "make", "mk", "up", "start", "init"],
        "`netcord bridge NETWORK` makes a network, `netcord attach NETWORK TARGET` attaches to it",
    ),
    (&["delete", "del", "destroy", "erase"], "`netcord rm NETWORK` removes a network"),
    (
        &["down", "stop"],
        "`netcord detach NETWORK TARGET` detaches a target, `netcord rm NETWORK` removes a network",
    ),
    (&["link", "join", "plug"], "`netcord attach NETWORK TARGET` attaches a target"),
    (&["unlink", "leave", "unplug"], "`netcord detach NETWORK TARGET` detaches a target"),
    (&["show", "status", "info", "get"], "`netcord ls` lists networks, `netcord ps` endpoints"),
    (&["exec", "enter", "shell", "sh"], "`netcord container TARGET -- CMD` runs a command there"),
    (&["expose", "forward", "open"], "`netcord publish TARGET PORT` publishes a port"),
    (&["check", "diagnose", "why"], "`netcord doctor` finds out why packets do not flow"),
    (&["fix", "restore", "reload"], "`netcord repair` restores what the records describe"),
    (&["save", "dump", "backup"], "`netcord export` prints this host's networks as a script"),
    (&["version"], "`netcord --version`"),
    (&["help"], "`netcord --help`"),
];

/// The error for a word that is no verb.
fn no_verb(word: &str) -> Invalid {
    let known = OTHER_WORDS.iter().find(|(words, _)| words.contains(&word));
    let hint = match (known, similar_verb(word)) {
        (Some((_, hint)), _) => (*hint).to_owned(),
        (None, Some(verb)) => format!("did you mean `netcord {verb}`?"),
        (None, None) => "`netcord --help` lists the verbs".to_owned(),
    };
    Invalid::new(format!("no verb `{word}`")).hint(hint)
}

/// The verb that a word is a typing error of: one letter in three, so that nobody who asks for one
/// thing is offered another, which may remove what he has.
fn similar_verb(word: &str) -> Option<String> {
    let command = command();
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    verbs
        .flat_map(|verb| [verb.get_name()].into_iter().chain(verb.get_visible_aliases()))
        .map(|verb| (strsim::damerau_levenshtein(word, verb), verb))
        .filter(|(distance, verb)| distance * 3 <= word.len().min(verb.len()))
        .min()
        .map(|(_, verb)| verb.to_owned())
}

/// The command, for completions and manual pages.
pub fn command() -> clap::Command {
    Cli::command()
}

/// A subnet with its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr(pub IpNetwork);

/// An address, perhaps with its subnet's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// The length, if given.
    pub length: Option<u8>,
}

/// A gateway, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gateway {
    /// By this one.
    Ip(IpAddr),
    /// No default route.
    None,
}

/// `DST[,GATEWAY]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteSpec {
    /// Where to.
    pub destination: IpNetwork,
    /// By whom; on the link if none.
    pub gateway: Option<IpAddr>,
}

/// `PORT[/PROTO]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InnerPort {
    /// The target's port.
    pub port: u16,
    /// TCP if none was given.
    pub protocol: Protocol,
}

mod values {
    //! How values are read.

    use std::{net::IpAddr, str::FromStr};

    use ipnetwork::IpNetwork;

    use super::{Address, Cidr, Gateway, InnerPort, Removable, RouteSpec, RunNetwork};
    use crate::model::{Invalid, PortRange, PortSpec};

    impl FromStr for Cidr {
        type Err = String;

        fn from_str(text: &str) -> Result<Self, String> {
            let Address { ip, length } = text.parse()?;
            let length = length
                .ok_or_else(|| format!("the prefix length is missing: write it as {ip}/24"))?;
            IpNetwork::new(ip, length).map(Self).map_err(|e| e.to_string())
        }
    }

    impl FromStr for Address {
        type Err = String;

        fn from_str(text: &str) -> Result<Self, String> {
            let (ip, length) = match text.split_once('/') {
                Some((ip, length)) => (ip, Some(length)),
                None => (text, None),
            };
            let ip: IpAddr = ip.parse().map_err(|_| "not an IP address".to_owned())?;
            let longest = if ip.is_ipv4() { 32 } else { 128 };
            let length = length
                .map(|l| match l.parse::<u8>() {
                    Ok(l) if l <= longest => Ok(l),
                    _ => Err(format!("the prefix length must be /0 to /{longest}")),
                })
                .transpose()?;
            Ok(Self { ip, length })
        }
    }

    impl FromStr for Gateway {
        type Err = String;

        fn from_str(text: &str) -> Result<Self, String> {
            match text {
                "none" => Ok(Self::None),
                ip => {
                    ip.parse().map(Self::Ip).map_err(|_| "neither an IP address nor `none`".into())
                }
            }
        }
    }

    impl FromStr for RunNetwork {
        type Err = Invalid;

        fn from_str(text: &str) -> Result<Self, Invalid> {
            match text {
                "none" => Ok(Self::None),
                "host" => Ok(Self::Host),
                text => match text.strip_prefix("container:") {
                    Some(target) => target.parse().map(Self::Container),
                    None => text.parse().map(Self::Network),
                },
            }
        }
    }

    impl FromStr for Removable {
        type Err = Invalid;

        fn from_str(text: &str) -> Result<Self, Invalid> {
            match text.split_once(':') {
                Some(("network", name)) => name.parse().map(Self::Network),
                Some(("netns", name)) => name.parse().map(Self::Netns),
                _ => text.parse().map(Self::Any),
            }
        }
    }

    impl FromStr for RouteSpec {
        type Err = String;

        fn from_str(text: &str) -> Result<Self, String> {
            let (destination, gateway) = match text.split_once(',') {
                Some((destination, gateway)) => (destination, Some(gateway)),
                None => (text, None),
            };
            let Cidr(destination) = match destination {
                "default" if gateway.is_some_and(|g| g.contains(':')) => "::/0".parse()?,
                "default" => "0.0.0.0/0".parse()?,
                destination => destination.parse()?,
            };
            if destination.ip() != destination.network() {
                return Err(format!(
                    "host bits are set: use {}/{}",
                    destination.network(),
                    destination.prefix()
                ));
            }
            let gateway: Option<IpAddr> = gateway
                .map(str::parse)
                .transpose()
                .map_err(|_| "the gateway is not an IP address".to_owned())?;
            if gateway.is_some_and(|g| g.is_ipv4() != destination.is_ipv4()) {
                return Err("destination and gateway are of different IP families".into());
            }
            Ok(Self { destination, gateway })
        }
    }

    impl FromStr for InnerPort {
        type Err = String;

        fn from_str(text: &str) -> Result<Self, String> {
            let spec: PortSpec = text.parse().map_err(|e: Invalid| e.message)?;
            if text.contains(':') || spec.container.count() != 1 {
                return Err("expected one port of the target, such as 80/tcp".into());
            }
            let PortRange { first: port, .. } = spec.container;
            Ok(Self { port, protocol: spec.protocol })
        }
    }
}

/// A name that a network is to have: not what `run --network` takes for something else.
fn new_network(text: &str) -> Result<LinkName, Invalid> {
    free(text, &["host", "none"])?;
    text.parse()
}

/// A name that a namespace is to have: not what is another target.
fn new_netns(text: &str) -> Result<NetnsName, Invalid> {
    free(text, &["host"])?;
    text.parse()
}

fn free(text: &str, reserved: &[&str]) -> Result<(), Invalid> {
    if reserved.contains(&text) {
        return Err(Invalid::new(format!("`{text}` is a reserved word: choose another name")));
    }
    Ok(())
}

fn key_value(text: &str) -> Result<(String, String), String> {
    if text.contains(char::is_control) {
        return Err("control characters are not allowed".into());
    }
    match text.split_once('=') {
        Some(("", _)) | None => Err("expected KEY=VALUE".into()),
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn values_are_read_or_refused_with_a_reason() {
        assert_eq!("10.0.0.0/24".parse::<Cidr>().unwrap().0.prefix(), 24);
        for bad in [
            "10.0.0.0",
            "10.0.0.0/33",
            "10.0.0/8",
            "010.0.0.0/8",
            "10.0.0.0/255.0.0.0",
            "x",
            "fe80::1%eth0/64",
        ] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
        assert!("default,10.0.0.1".parse::<RouteSpec>().is_ok());
        for bad in ["10.0.0.1/24,10.0.0.1", "10.0.0.0/24,fd00::1", "10.0.0.0/24,", "10.0.0.0/24,x"]
        {
            assert!(bad.parse::<RouteSpec>().is_err(), "{bad}");
        }
        assert_eq!("53/udp".parse::<InnerPort>().unwrap().protocol, Protocol::Udp);
        assert!("80-90".parse::<InnerPort>().is_err());
    }
}
