//! Reads all tables of the thread's namespace, of all programs, as values of the model.

use std::{
    collections::{HashMap, HashSet},
    io,
};

use netlink_packet_core::{DefaultNla, NLM_F_DUMP, Nla};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
    nftables::{
        Bitwise, ChainAttribute, ChainMessage, Cmp, DataAttribute, ExpressionAttribute,
        Expressions, Hook as HookAttribute, Immediate, ListAttribute, Lookup, Meta, MetaKey,
        NfTablesMessage, Operator, Payload, Register, RuleAttribute, RuleMessage, SetAttribute,
        SetDescription, SetElementAttribute, SetElementFlags, SetElementList, SetElementMessage,
        SetFlags, SetMessage, TableAttribute, TableMessage, Verdict as Code, VerdictAttribute,
    },
};

use super::{
    NLA_TYPE_MASK,
    answer::RuleAnswer,
    read,
    request::{inet, read_comment},
};
use crate::{
    kernel::nfnetlink::{Socket, is_absent},
    model::ruleset::{
        Base, Chain, Comparison, Data, Direction, Element, Expression, Family, Field, Header, Hook,
        Rule, Ruleset, Set, Table, Translation, Verdict,
    },
    plan::nft::TABLE,
};

// NF_DROP, NF_ACCEPT
const DROP: u32 = 0;
const ACCEPT: u32 = 1;
const FAMILIES: [Family; 6] =
    [Family::Inet, Family::Ip, Family::Ip6, Family::Bridge, Family::Arp, Family::Netdev];
/// Registers of 16 bytes have the numbers 1 to 4, those of 4 bytes 8 to 23. The first 16 bytes are
/// the verdict register (`nft_parse_register`).
const SMALL: u32 = 8;

/// Reads all tables. Equivalent to `nft -a list ruleset`.
pub(super) fn all(socket: &mut Socket) -> io::Result<Ruleset> {
    let mut ruleset = Ruleset::default();
    let tables = tables(socket)?;
    for family in FAMILIES {
        let of_it = tables.iter().filter(|(of, ..)| *of == family);
        let ages: HashMap<_, _> = of_it.map(|(_, name, handle)| (name.as_str(), *handle)).collect();
        if ages.is_empty() {
            continue;
        }
        match of_family(socket, family, &ages, &mut ruleset) {
            Err(e) if is_absent(&e) => {}
            read => read?,
        }
    }
    Ok(ruleset)
}

/// Returns the tables of all families, with their handles: most namespaces have none.
fn tables(socket: &mut Socket) -> io::Result<Vec<(Family, String, u64)>> {
    let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, 0);
    let get = NfTablesMessage::GetTable(TableMessage { attributes: Vec::new() });
    socket.dump(&NetfilterMessage::new(header, get), NLM_F_DUMP, |message: NetfilterMessage| {
        let family = family(message.header.family)?;
        let NetfilterMessageInner::NfTables(NfTablesMessage::NewTable(table)) = message.inner
        else {
            return None;
        };
        let (name, handle) = handle_of_table(table)?;
        Some((family, name, handle))
    })
}

/// Reads the tables of a family; `ages` are their handles.
fn of_family(
    socket: &mut Socket,
    family: Family,
    ages: &HashMap<&str, u64>,
    into: &mut Ruleset,
) -> io::Result<()> {
    let get = |message| NetfilterMessage::new(NetfilterHeader::new(number(family), 0, 0), message);
    let chains = get(NfTablesMessage::GetChain(ChainMessage { attributes: Vec::new() }));
    let chains =
        socket.dump(&chains, NLM_F_DUMP, |message: NetfilterMessage| match message.inner {
            NetfilterMessageInner::NfTables(NfTablesMessage::NewChain(m)) => chain(family, m),
            _ => None,
        })?;
    if chains.is_empty() {
        return Ok(());
    }
    let rules = get(NfTablesMessage::GetRule(RuleMessage { attributes: Vec::new() }));
    let mut rules_of: HashMap<(String, String), Vec<Rule>> = HashMap::new();
    let rules = socket.dump(&rules, NLM_F_DUMP, rule)?;
    for (place, rule) in rules {
        rules_of.entry(place).or_default().push(rule);
    }
    let first = into.chains.len();
    into.chains.extend(chains);
    for chain in &mut into.chains[first..] {
        let place = (chain.table.name.clone(), chain.name.clone());
        chain.age.0 = ages.get(place.0.as_str()).copied().unwrap_or_default();
        chain.rules = rules_of.remove(&place).unwrap_or_default();
    }
    let used: HashSet<_> = into.chains[first..]
        .iter()
        .flat_map(|chain| chain.rules.iter().flat_map(|rule| &rule.expressions))
        .filter_map(|expression| match expression {
            Expression::Lookup { set, .. } => Some(set.clone()),
            _ => None,
        })
        .collect();
    let sets = get(NfTablesMessage::GetSet(SetMessage { attributes: Vec::new() }));
    let sets = socket.dump(&sets, NLM_F_DUMP, |message: NetfilterMessage| match message.inner {
        NetfilterMessageInner::NfTables(NfTablesMessage::NewSet(m)) => set(m),
        _ => None,
    })?;
    // Skip the elements of other programs' sets that no rule refers to: they may be many.
    let is_ours = |table: &String| family == Family::Inet && table == TABLE;
    let needed = |(table, name, _): &(_, String, _)| used.contains(name) || is_ours(table);
    for (table, name, mut set) in sets.into_iter().filter(needed) {
        let attributes =
            vec![SetElementList::Table(table.clone()), SetElementList::Set(name.clone())];
        let elements = get(NfTablesMessage::GetSetElement(SetElementMessage { attributes }));
        let found = socket.dump(&elements, NLM_F_DUMP, |m| Some(read::elements(m)))?;
        set.elements = found.into_iter().flatten().map(element).collect();
        into.sets.entry(Table { family, name: table }).or_default().insert(name, set);
    }
    Ok(())
}

/// A chain of a table, with the number of its rules and of jumps to it.
pub(super) type Used = (Chain, u32);

/// Returns the chains of a table of the family `inet`, with their rules.
///
/// Equivalent to `nft list table inet NAME`, without its sets.
pub(super) fn of_table(socket: &mut Socket, name: &str) -> io::Result<Vec<Used>> {
    let get = inet(NfTablesMessage::GetChain(ChainMessage { attributes: Vec::new() }));
    let mut chains =
        socket.dump(&get, NLM_F_DUMP, |message: NetfilterMessage| match message.inner {
            NetfilterMessageInner::NfTables(NfTablesMessage::NewChain(m)) => {
                let uses = uses(&m);
                chain(Family::Inet, m).filter(|c| c.table.name == name).map(|c| (c, uses))
            }
            _ => None,
        })?;
    if chains.is_empty() {
        return Ok(chains);
    }
    let attributes = vec![RuleAttribute::Table(name.to_owned())];
    let get = inet(NfTablesMessage::GetRule(RuleMessage { attributes }));
    let rules = socket.dump(&get, NLM_F_DUMP, rule)?;
    let mut of: HashMap<String, Vec<Rule>> = HashMap::new();
    for ((_, chain), rule) in rules {
        of.entry(chain).or_default().push(rule);
    }
    for (chain, _) in &mut chains {
        chain.rules = of.remove(&chain.name).unwrap_or_default();
    }
    Ok(chains)
}

/// Returns a rule's expressions as the kernel reports them, which differs from how they are sent.
pub(super) fn read_back(expressions: Vec<ListAttribute<ExpressionAttribute>>) -> Vec<Expression> {
    expressions.into_iter().filter_map(one).collect()
}

fn uses(message: &ChainMessage) -> u32 {
    let found = message.attributes.iter().find_map(|attribute| match attribute {
        ChainAttribute::Use(uses) => Some(*uses),
        _ => None,
    });
    found.unwrap_or_default()
}

fn number(family: Family) -> NetfilterProtoFamily {
    match family {
        Family::Inet => NetfilterProtoFamily::Inet,
        Family::Ip => NetfilterProtoFamily::IPv4,
        Family::Ip6 => NetfilterProtoFamily::IPv6,
        Family::Bridge => NetfilterProtoFamily::Bridge,
        Family::Arp => NetfilterProtoFamily::ARP,
        Family::Netdev => NetfilterProtoFamily::NetDev,
    }
}

/// Returns the family with this number.
pub(super) fn family(number_of: NetfilterProtoFamily) -> Option<Family> {
    FAMILIES.into_iter().find(|family| number(*family) == number_of)
}

fn handle_of_table(message: TableMessage) -> Option<(String, u64)> {
    let (mut name, mut handle) = (None, None);
    for attribute in message.attributes {
        match attribute {
            TableAttribute::Name(text) => name = Some(text),
            TableAttribute::Handle(number) => handle = Some(number),
            _ => {}
        }
    }
    Some((name?, handle?))
}

fn chain(family: Family, message: ChainMessage) -> Option<Chain> {
    let (mut table, mut name, mut hook, mut priority) = (None, None, None, 0);
    let (mut translates, mut drops, mut handle) = (false, false, 0);
    let mut devices = Vec::new();
    for attribute in message.attributes {
        match attribute {
            ChainAttribute::Table(text) => table = Some(text),
            ChainAttribute::Name(text) => name = Some(text),
            ChainAttribute::Handle(number) => handle = number,
            ChainAttribute::Type(kind) => translates = kind == "nat",
            ChainAttribute::Policy(policy) => drops = policy == DROP,
            ChainAttribute::Hook(attributes) => {
                for attribute in attributes {
                    match attribute {
                        HookAttribute::Number(number) => hook = Hook::of(family, number.into()),
                        HookAttribute::Priority(number) => priority = number.cast_signed(),
                        HookAttribute::NetDevices(list) => {
                            devices = list.iter().filter_map(device).collect();
                        }
                        HookAttribute::NetDeviceName(name) if devices.is_empty() => {
                            devices.push(name);
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let base = hook.map(|hook| Base { hook, devices, priority, translates, drops });
    let table = Table { family, name: table? };
    Some(Chain { table, name: name?, age: (0, handle), base, rules: Vec::new() })
}

/// Returns a link's name (`NFTA_DEVICE_NAME`), or the prefix of several (`NFTA_DEVICE_PREFIX`).
fn device(nla: &DefaultNla) -> Option<String> {
    let text = String::from_utf8(read::bytes(nla)).ok()?;
    let name = text.trim_end_matches('\0');
    Some(if nla.kind() & NLA_TYPE_MASK == 2 { format!("{name}*") } else { name.to_owned() })
}

/// Parses a rule, with its table and chain.
fn rule(RuleAnswer { attributes, .. }: RuleAnswer) -> Option<((String, String), Rule)> {
    let (mut table, mut chain, mut handle, mut comment) = (None, None, None, None);
    let mut expressions = Vec::new();
    for attribute in attributes {
        match attribute {
            RuleAttribute::Table(text) => table = Some(text),
            RuleAttribute::Chain(text) => chain = Some(text),
            RuleAttribute::Handle(number) => handle = Some(number),
            RuleAttribute::UserData(bytes) => comment = read_comment(&bytes),
            RuleAttribute::Expressions(list) => {
                expressions.extend(list.into_iter().filter_map(one));
            }
            _ => {}
        }
    }
    let of_xtables = expressions.iter().find_map(|expression| match expression {
        Expression::XtMatch(name, _, info) if name == "comment" => {
            let text = info.split(|byte| *byte == 0).next()?;
            Some(String::from_utf8_lossy(text).into_owned())
        }
        _ => None,
    });
    let comment = comment.or(of_xtables);
    Some(((table?, chain?), Rule { handle: handle?, expressions, comment }))
}

fn one(element: ListAttribute<ExpressionAttribute>) -> Option<Expression> {
    let ListAttribute::Element(attributes) = element else { return None };
    let mut name = String::new();
    for attribute in attributes {
        match attribute {
            ExpressionAttribute::Name(text) => name = text,
            ExpressionAttribute::Data(data) => {
                return Some(expression(data).unwrap_or(Expression::Unknown(name)));
            }
            _ => {}
        }
    }
    Some(without_parameters(name))
}

/// An expression without parameters, or whose parameters do not matter here.
fn without_parameters(name: String) -> Expression {
    match name.as_str() {
        "counter" | "log" | "last" | "objref" | "flow_offload" | "dup" => Expression::Aside(name),
        "queue" | "fwd" | "tproxy" | "synproxy" => Expression::Diverts(name),
        "notrack" => Expression::NoTrack,
        "masq" => Expression::Translate(Translation::Masquerade),
        "reject" => Expression::Decide(Verdict::Reject),
        _ => Expression::Unknown(name),
    }
}

fn expression(data: Expressions) -> Option<Expression> {
    match data {
        Expressions::Meta(attributes) => meta(attributes),
        Expressions::Payload(attributes) => payload(attributes),
        Expressions::Cmp(attributes) => compare(attributes),
        Expressions::Bitwise(attributes) => bitwise(attributes),
        Expressions::Immediate(attributes) => immediate(attributes),
        Expressions::Lookup(attributes) => lookup(attributes),
        Expressions::Other { expression_type, attributes } => other(expression_type, &attributes),
        _ => None,
    }
}

fn meta(attributes: Vec<Meta>) -> Option<Expression> {
    let (mut key, mut to, mut from) = (None, None, None);
    for attribute in attributes {
        match attribute {
            Meta::Key(found) => key = Some(found),
            Meta::DestinationRegister(register) => to = Some(at(register)),
            Meta::SourceRegister(register) => from = Some(at(register)),
            _ => {}
        }
    }
    let key = key?;
    if let Some(from) = from {
        return Some(match key {
            MetaKey::Mark => Expression::SetMark(from),
            _ => Expression::Aside("meta set".to_owned()),
        });
    }
    let field = match key {
        MetaKey::Iifname => Field::InName,
        MetaKey::Oifname => Field::OutName,
        MetaKey::EtherTypeProtocol => Field::EtherType,
        MetaKey::Iftype => Field::InType,
        MetaKey::Oiftype => Field::OutType,
        MetaKey::BriIifname => Field::InBridge,
        MetaKey::BriOifname => Field::OutBridge,
        MetaKey::Iif => Field::InIndex,
        MetaKey::Oif => Field::OutIndex,
        MetaKey::Nfproto => Field::Version,
        MetaKey::L4Proto => Field::Protocol,
        MetaKey::Mark => Field::Mark,
        other => Field::Unknown(format!("meta {other:?}").to_lowercase()),
    };
    Some(Expression::Load(field, to?))
}

fn payload(attributes: Vec<Payload>) -> Option<Expression> {
    let (mut base, mut offset, mut length, mut to) = (None, None, None, None);
    for attribute in attributes {
        match attribute {
            Payload::Base(number) => base = Some(number),
            Payload::Offset(number) => offset = usize::try_from(number).ok(),
            Payload::Len(number) => length = usize::try_from(number).ok(),
            Payload::DestinationRegister(register) => to = Some(at(register)),
            _ => {}
        }
    }
    let (offset, length) = (offset?, length?);
    // NFT_PAYLOAD_*_HEADER
    let field = match base? {
        0 => Field::Header(Header::Link, offset, length),
        1 => Field::Header(Header::Network, offset, length),
        2 => Field::Header(Header::Transport, offset, length),
        _ => Field::Unknown("payload".to_owned()),
    };
    Some(Expression::Load(field, to?))
}

fn compare(attributes: Vec<Cmp>) -> Option<Expression> {
    let (mut from, mut how, mut bytes) = (None, None, None);
    for attribute in attributes {
        match attribute {
            Cmp::SourceRegister(register) => from = Some(at(register)),
            Cmp::Op(operator) => {
                how = Some(match operator {
                    Operator::Equal => Comparison::Equal,
                    Operator::NotEqual => Comparison::NotEqual,
                    Operator::LessThan => Comparison::Less,
                    Operator::LessThanEqual => Comparison::LessOrEqual,
                    Operator::GreaterThan => Comparison::Greater,
                    Operator::GreatherThanEqual => Comparison::GreaterOrEqual,
                    _ => return None,
                });
            }
            Cmp::Data(DataAttribute::Value(value)) => bytes = Some(value),
            _ => {}
        }
    }
    Some(Expression::Compare(from?, how?, bytes?))
}

fn bitwise(attributes: Vec<Bitwise>) -> Option<Expression> {
    let (mut from, mut to, mut kept, mut turned) = (None, None, None, None);
    for attribute in attributes {
        match attribute {
            Bitwise::SourceRegister(register) => from = Some(at(register)),
            Bitwise::DestinationRegister(register) => to = Some(at(register)),
            Bitwise::Mask(DataAttribute::Value(value)) => kept = Some(value),
            Bitwise::Xor(DataAttribute::Value(value)) => turned = Some(value),
            // An operation other than mask and xor is a shift.
            Bitwise::Op(operation) if operation != 0 => return None,
            _ => {}
        }
    }
    Some(Expression::Bitwise { source: from?, destination: to?, mask: kept?, xor: turned? })
}

fn immediate(attributes: Vec<Immediate>) -> Option<Expression> {
    let (mut to, mut data) = (None, None);
    for attribute in attributes {
        match attribute {
            Immediate::DestinationRegister(register) => to = Some(register),
            Immediate::Data(found) => data = Some(found),
            _ => {}
        }
    }
    match data? {
        DataAttribute::Verdict(attributes) => verdict(&attributes).map(Expression::Decide),
        DataAttribute::Value(bytes) => Some(Expression::Immediate(bytes, at(to?))),
        _ => None,
    }
}

fn verdict(attributes: &[VerdictAttribute]) -> Option<Verdict> {
    let chain = attributes.iter().find_map(|attribute| match attribute {
        VerdictAttribute::Chain(chain) => Some(chain.clone()),
        _ => None,
    });
    let code = attributes.iter().find_map(|attribute| match attribute {
        VerdictAttribute::Code(code) => Some(*code),
        _ => None,
    });
    match code? {
        Code::Continue | Code::Break => Some(Verdict::Continue),
        Code::Jump => chain.map(Verdict::Jump),
        Code::Goto => chain.map(Verdict::Goto),
        Code::Return => Some(Verdict::Return),
        Code::Other(DROP) => Some(Verdict::Drop),
        Code::Other(ACCEPT) => Some(Verdict::Accept),
        _ => None,
    }
}

fn lookup(attributes: Vec<Lookup>) -> Option<Expression> {
    let (mut set, mut from, mut to, mut not, mut decides) = (None, None, None, false, false);
    for attribute in attributes {
        match attribute {
            Lookup::Set(name) => set = Some(name),
            Lookup::SourceRegister(register) => from = Some(at(register)),
            Lookup::DestinationRegister(Register::Verdict) => decides = true,
            Lookup::DestinationRegister(register) => to = Some(at(register)),
            // NFT_LOOKUP_F_INV
            Lookup::Flags(flags) => not = flags & 1 != 0,
            _ => {}
        }
    }
    Some(Expression::Lookup { set: set?, register: from?, destination: to, not, decides })
}

/// Expressions that the crate does not know: their attributes have numbers.
fn other(name: String, attributes: &[DefaultNla]) -> Option<Expression> {
    let bytes = |kind: u16| {
        attributes.iter().find(|nla| nla.kind() & NLA_TYPE_MASK == kind).map(read::bytes)
    };
    let number = |kind| Some(u32::from_be_bytes(bytes(kind)?.try_into().ok()?));
    let register = |kind| number(kind).map(|number| at(number.into()));
    match name.as_str() {
        // NFTA_CT_DREG, KEY, SREG
        "ct" if number(4).is_some() => {
            let (key, from) = (number(2)?, register(4)?);
            let direction = bytes(3).and_then(|b| match b.as_slice() {
                [0] => Some(Direction::Original),
                [1] => Some(Direction::Reply),
                _ => None,
            });
            Some(match key {
                3 => Expression::SetConnectionMark(from),
                17 => Expression::SetZone(from, direction),
                // Labels, helpers, events: they do not affect the verdict.
                _ => Expression::Aside("ct set".to_owned()),
            })
        }
        "ct" => {
            let field = match (number(2)?, number(3)) {
                (0, None) => Field::State,
                (1, None) => Field::Direction,
                (2, None) => Field::Status,
                (3, None) => Field::ConnectionMark,
                (17, None) => Field::Zone,
                (key, _) => Field::Unknown(format!("ct {key}")),
            };
            Some(Expression::Load(field, register(1)?))
        }
        // NFTA_FIB_DREG, RESULT, FLAGS: source address 1, destination address 2, mark 4, incoming
        // link 8. The result: link index 1, type of address 3.
        "fib" => {
            let field = match (number(2)?, number(3)?) {
                (3, 1) => Field::SourceType,
                (3, 2) => Field::DestinationType,
                (1, flags) if flags & !0b1100 == 1 => Field::Reverse(flags & 8 != 0),
                _ => Field::Unknown("fib".to_owned()),
            };
            Some(Expression::Load(field, register(1)?))
        }
        // NFTA_NAT_TYPE, REG_ADDR_MIN, REG_PROTO_MIN
        "nat" => {
            let (address, port) = (register(3), register(5));
            Some(Expression::Translate(match number(1)? {
                0 => Translation::Source { address, port },
                _ => Translation::Destination { address, port },
            }))
        }
        "redir" => Some(Expression::Translate(Translation::Redirect { port: register(1) })),
        // NFTA_RANGE_SREG, OP, FROM_DATA, TO_DATA; each datum is nested.
        "range" => {
            let inner = |kind| bytes(kind).and_then(|b| b.get(4..).map(<[u8]>::to_vec));
            let (from, to) = (inner(3)?, inner(4)?);
            Some(Expression::Range { register: register(1)?, not: number(2)? == 1, from, to })
        }
        // NFTA_MATCH_NAME, REV, INFO, and the same numbers for a target.
        "match" | "target" => {
            let (text, revision, info) = (bytes(1)?, number(2)?, bytes(3)?);
            let text = String::from_utf8(text).ok()?.trim_end_matches('\0').to_owned();
            Some(match name.as_str() {
                "match" => Expression::XtMatch(text, revision, info),
                _ => Expression::XtTarget(text, revision, info),
            })
        }
        _ => Some(without_parameters(name)),
    }
}

fn at(register: Register) -> usize {
    let number = u32::from(register);
    let byte = if number >= SMALL { (number - SMALL) * 4 + 16 } else { number * 16 };
    usize::try_from(byte).unwrap_or(usize::MAX)
}

/// Parses a set without its elements, with its table and name.
fn set(message: SetMessage) -> Option<(String, String, Set)> {
    let (mut table, mut name, mut set) = (None, None, Set::default());
    for attribute in message.attributes {
        match attribute {
            SetAttribute::Table(text) => table = Some(text),
            SetAttribute::Name(text) => name = Some(text),
            SetAttribute::Flags(flags) => {
                set.interval = flags.contains(SetFlags::Interval);
                set.anonymous = flags.contains(SetFlags::Anonymous);
            }
            SetAttribute::Description(parts) => {
                for part in parts {
                    if let SetDescription::Concat(fields) = part {
                        set.fields = fields.iter().filter_map(field_length).collect();
                    }
                }
            }
            _ => {}
        }
    }
    Some((table?, name?, set))
}

/// `NFTA_LIST_ELEM` with a `NFTA_SET_FIELD_LEN` inside.
fn field_length(nla: &DefaultNla) -> Option<usize> {
    let bytes = read::bytes(nla);
    let length = u32::from_be_bytes(bytes.get(4..8)?.try_into().ok()?);
    usize::try_from(length).ok()
}

/// Parses an element of a set.
pub(super) fn element(attributes: Vec<SetElementAttribute>) -> Element {
    let mut element =
        Element { key: None, key_end: None, ends: false, data: Data::None, comment: None };
    for attribute in attributes {
        match attribute {
            SetElementAttribute::Key(DataAttribute::Value(bytes)) => element.key = Some(bytes),
            SetElementAttribute::KeyEnd(ends) => element.key_end = ends.first().map(read::bytes),
            SetElementAttribute::Flags(flags) => {
                element.ends = flags.contains(SetElementFlags::IntervalEnd);
            }
            SetElementAttribute::Data(DataAttribute::Value(bytes)) => {
                element.data = Data::Value(bytes);
            }
            SetElementAttribute::Data(DataAttribute::Verdict(attributes)) => {
                element.data = verdict(&attributes).map_or(Data::None, Data::Verdict);
            }
            SetElementAttribute::UserData(bytes) => element.comment = read_comment(&bytes),
            _ => {}
        }
    }
    element
}
